"""What a run tells others while it runs: `runs/<suite>.json` in the store, which `status` reads."""

from __future__ import annotations

import os
import platform
import threading
import time
from collections.abc import Iterable
from contextlib import nullcontext, suppress
from types import TracebackType
from typing import Any, Literal, NamedTuple

from benchmark.stages.node import Ended, Node, Ref
from benchmark.store.artifacts import Store

SOON_S = 1.0  # between two writings where something has changed
EVERY_S = 5.0  # where nothing has
SILENT_S = 60.0  # a run that has not written for so long is dead


class Journal:
    """Written beside the artifacts by a thread of its own, also while a task keeps the run's; no run reads it."""

    def __init__(self, store: Store, suite: str) -> None:
        self._store, self._name = store, f"runs/{suite}.json"
        self._head = {"host": platform.node(), "process": os.getpid(), "began": time.time()}
        self._running: list[list[str]] = []
        self._failed: dict[Ref, tuple[str, str]] = {}
        self._changed, self._written = False, 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)

    def __enter__(self) -> Journal:
        self._write()
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: Any, trace: TracebackType | None) -> None:
        self._stop.set()
        self._thread.join()
        self._running = []
        with nullcontext() if kind is None else suppress(Exception):  # what ended the run says more
            self._write(ended=True)

    def running(self, nodes: Iterable[Node]) -> None:
        """Takes down what runs now."""
        self._running = [[*node.ref, node.label] for node in nodes]
        self._changed = True

    def failed(self, ref: Ref, ended: Ended) -> None:
        """Takes down that a node was not made, and why."""
        self._failed[ref] = (ended.status, ended.reason)

    def _beat(self) -> None:
        while not self._stop.wait(SOON_S):
            try:
                if self._changed or time.monotonic() - self._written > EVERY_S:
                    self._write()
            except Exception:  # a full disk or a lost connection, for which each client has classes of its own
                continue  # the run itself will say so

    def _write(self, *, ended: bool = False) -> None:
        self._changed, self._written = False, time.monotonic()
        failed = [[*ref, *why] for ref, why in list(self._failed.items())]
        facts: dict[str, Any] = {"updated": time.time(), "ended": ended, "running": self._running, "failed": failed}
        self._store.write_json(self._name, self._head | facts)


class LastRun(NamedTuple):
    """What is known of the run that was the last to write into a store."""

    state: Literal["none", "alive", "ended", "died"]
    host: str = ""
    process: int = 0
    silent_s: float = 0.0  # since it last wrote
    running: dict[Ref, str] = {}  # label of each node that runs, or ran when the run died
    failed: dict[Ref, tuple[str, str]] = {}  # status and reason


def last_run(store: Store, suite: str) -> LastRun:
    """The last run of a suite in a store, as its journal tells."""
    found = store.read_json(f"runs/{suite}.json")
    if found is None:
        return LastRun("none")
    silent = time.time() - found["updated"]
    gone = silent > SILENT_S or (found["host"] == platform.node() and not _is_process(found["process"]))
    return LastRun(
        "ended" if found["ended"] else "died" if gone else "alive",
        found["host"],
        found["process"],
        max(0.0, silent),
        {Ref(stage, key): label for stage, key, label in found["running"]},
        {Ref(stage, key): (status, reason) for stage, key, status, reason in found["failed"]},
    )


def _is_process(number: int) -> bool:
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # somebody else's
        return True
    return True
