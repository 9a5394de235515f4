"""A task is what one slot runs at once: nodes of one stage. What goes wrong in it becomes a status, never a crash."""

from __future__ import annotations

import os
import time
import traceback
from collections.abc import Mapping
from typing import Any, NamedTuple

from benchmark.errors import CRASHES, UserError, is_sent_away, reason_of, status_of, tells_no_space
from benchmark.stages.node import Ended, Node, Stage, Workplace
from benchmark.stages.settings import own_settings
from benchmark.store.artifacts import Store
from benchmark.store.schemas import Status


class Task(NamedTuple):
    """Nodes of one stage that run together."""

    nodes: tuple[Node, ...]

    @property
    def stage(self) -> Stage:
        """That of all its nodes."""
        return self.nodes[0].stage

    @property
    def key(self) -> str:
        """Names it for progress and logs: the first node's key."""
        return self.nodes[0].key

    @property
    def label(self) -> str:
        """What progress prints."""
        return self.stage.label(self.nodes)

    @property
    def work(self) -> float:
        """Forward views of images."""
        return sum(node.work for node in self.nodes)


class TaskResult(NamedTuple):
    """How a task ended."""

    status: Status
    reason: str = ""
    wall_s: float = 0.0
    facts: Mapping[str, Any] = {}
    user_error: bool = False  # the user can mend it, and a table full of failures would hide it

    def ended(self) -> Ended:
        """What its nodes are told."""
        return Ended(self.status, self.reason, self.wall_s, self.facts)


def execute(task: Task, at: Workplace) -> TaskResult:
    """Runs a task in this process and turns every failure into a status with its reason and a log in the store."""
    began = time.perf_counter()
    try:
        with own_settings(task.key):
            facts = task.stage.run(task.nodes, at) or {}  # a plugin's may return nothing
        return TaskResult("ok", "", time.perf_counter() - began, facts)
    except UserError as error:
        return TaskResult("failed", str(error), time.perf_counter() - began, user_error=True)
    except CRASHES as error:
        if is_sent_away(error):
            raise
        reason, seconds = reason_of(error), time.perf_counter() - began
        if tells_no_space(reason):
            return TaskResult("failed", no_space(at.store, error), seconds, user_error=True)
        status = status_of(error)
        if status == "attack_did_not_plant":  # a verdict: nothing went wrong
            return TaskResult(status, str(error), seconds)
        log(at.store, task, reason)
        return TaskResult(status, reason, seconds)
    finally:
        at.store.release_files()


def no_space(store: Store, error: BaseException | None = None) -> str:
    """The one line for a full disk."""
    where = getattr(error, "filename", None) or store.root
    return f"store {where}: there must be space left on the device, got none; free some or choose another with --store"


def log(store: Store, task: Task, reason: str) -> None:
    """Writes the traceback of the exception that is being handled to `logs/<stage>-<key>.txt` of a local store."""
    if store.local_root is not None:
        folder = store.local_root / "logs"
        os.makedirs(folder, exist_ok=True)
        text = f"{task.label}\n{reason}\n\n{traceback.format_exc()}"
        (folder / f"{task.stage.name}-{task.key}.txt").write_text(text)
