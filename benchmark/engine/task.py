"""A task is one stage call that some process makes; whatever goes wrong in it becomes a status, never a crash."""

from __future__ import annotations

import os
import time
import traceback
from collections.abc import Callable
from typing import Any, NamedTuple

from benchmark.errors import UserError, tells_no_space
from benchmark.stages.common import Tick
from benchmark.store.artifacts import Store
from benchmark.store.schemas import Status


class Task(NamedTuple):
    """One call of a stage function: `function(store, *arguments, tick=…)`, which writes the artifacts it names."""

    stage: str
    key: str
    label: str
    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    work: float  # forward views of images, for the estimate of the time left
    writes: tuple[tuple[str, str], ...]  # (stage, key) of every artifact


class TaskResult(NamedTuple):
    """How a task ended."""

    key: str
    status: Status
    reason: str
    wall_s: float
    user_error: bool = False
    value: Any = None


def execute(task: Task, store: Store, tick: Tick) -> TaskResult:
    """Runs a task in this process and turns every failure into a status with its reason and a log in the store."""
    began = time.perf_counter()
    try:
        value = task.function(store, *task.arguments, tick=tick)
        return TaskResult(task.key, "ok", "", time.perf_counter() - began, value=value)
    except UserError as error:
        return TaskResult(task.key, "failed", str(error), time.perf_counter() - began, user_error=True)
    except Exception as error:
        reason, seconds = _one_line(error), time.perf_counter() - began
        if tells_no_space(reason):
            return TaskResult(task.key, "failed", no_space(store, error), seconds, user_error=True)
        log(store, task, reason)
        return TaskResult(task.key, status_of(error), reason, seconds)


def no_space(store: Store, error: BaseException | None = None) -> str:
    """The one line for a full disk."""
    where = getattr(error, "filename", None) or store.root
    return f"store {where}: there must be space left on the device, got none; free some or choose another with --store"


def status_of(error: BaseException) -> Status:
    """The status that an exception means."""
    name = type(error).__name__
    if isinstance(error, OSError):  # a file or a connection, also where its class is a TimeoutError
        return "failed"
    if isinstance(error, MemoryError) or name == "OutOfMemoryError":
        return "out_of_memory"
    if name == "NotApplicable":
        return "not_applicable"
    if name in ("GetTimeoutError", "TimeoutError"):
        return "timed_out"
    return "failed"


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def log(store: Store, task: Task, reason: str) -> None:
    """Writes the traceback of the exception that is being handled to `logs/<stage>-<key>.txt` of a local store."""
    if store.local_root is not None:
        folder = store.local_root / "logs"
        os.makedirs(folder, exist_ok=True)
        (folder / f"{task.stage}-{task.key}.txt").write_text(f"{task.label}\n{reason}\n\n{traceback.format_exc()}")
