"""What a run tells others while it runs: `runs/<suite>.<run>.json` in the store, which `status` reads."""

from __future__ import annotations

import os
import platform
import threading
import time
import uuid
from collections.abc import Iterable
from contextlib import nullcontext, suppress
from types import TracebackType
from typing import Any, Literal, NamedTuple

from benchmark.stages.node import Ended, Node, Ref
from benchmark.store.artifacts import Store
from benchmark.store.claims import is_process

SOON_S = 1.0  # between two writings where something has changed
EVERY_S = 5.0  # where nothing has
SILENT_S = 60.0  # a run that has not written for so long is dead


class Journal:
    """Written beside the artifacts by a thread of its own, also while a task keeps the run's; no run reads it."""

    def __init__(self, store: Store, suite: str) -> None:
        self._store, self._suite, self._name = store, suite, f"runs/{suite}.{uuid.uuid4().hex[:8]}.json"
        self._head = {"host": platform.node(), "process": os.getpid(), "began": time.time()}
        self._running: list[list[str]] = []
        self._failed: dict[Ref, tuple[str, str]] = {}
        self._changed, self._written = False, 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)

    def __enter__(self) -> Journal:
        for name in _names(self._store, self._suite):
            found = _read(self._store, name)
            if found is None or found.state != "alive":
                self._store.remove_json(name)
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
    """What is known of the run that was the last to write into a store, or of all that are alive."""

    state: Literal["none", "alive", "ended", "died"]
    host: str = ""
    process: int = 0
    silent_s: float = 0.0  # since it last wrote
    running: dict[Ref, str] = {}  # label of each node that runs, or ran when the run died
    failed: dict[Ref, tuple[str, str]] = {}  # status and reason
    others: int = 0  # runs that are alive too; what they make is among `running`


def last_run(store: Store, suite: str) -> LastRun:
    """The last run of a suite in a store, as its journal tells; of several that are alive, all in one."""
    found = [run for name in _names(store, suite) if (run := _read(store, name))]
    found.sort(key=lambda run: run.silent_s)
    alive = [run for run in found if run.state == "alive"]
    if not alive:
        return found[0] if found else LastRun("none")
    running = {ref: label for run in alive for ref, label in run.running.items()}
    failed = {ref: why for run in alive for ref, why in run.failed.items()}
    return alive[0]._replace(running=running, failed=failed, others=len(alive) - 1)


def _names(store: Store, suite: str) -> list[str]:
    return [f"runs/{name}.json" for name in store.list_json("runs") if name.partition(".")[0] == suite]


def _read(store: Store, name: str) -> LastRun | None:
    """What one journal tells; None where it is gone, or not of its form."""
    found = store.read_json(name)
    if found is None:
        return None
    silent = time.time() - found["updated"]
    gone = silent > SILENT_S or (found["host"] == platform.node() and not is_process(found["process"]))
    return LastRun(
        "ended" if found["ended"] else "died" if gone else "alive",
        found["host"],
        found["process"],
        max(0.0, silent),
        {Ref(stage, key): label for stage, key, label in found["running"]},
        {Ref(stage, key): (status, reason) for stage, key, status, reason in found["failed"]},
    )
