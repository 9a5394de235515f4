"""What a run tells others while it runs: `runs/<suite>.json` in the store, which `status` reads."""

from __future__ import annotations

import os
import platform
import time
from typing import Any

from benchmark.engine.graph import NodeGraph
from benchmark.store.artifacts import Store

EVERY_S = 5.0  # between two writings; readers call a run dead that has been silent for several of them


class Journal:
    """Written beside the artifacts, never read by the run itself."""

    def __init__(self, store: Store, suite: str) -> None:
        self._store, self._name = store, f"runs/{suite}.json"
        self._written = 0.0
        self._head = {"host": platform.node(), "process": os.getpid(), "began": time.time()}

    def write(self, graph: NodeGraph, *, ended: bool = False) -> None:
        """Writes what runs now and what failed, unless it was written a moment ago."""
        now = time.time()
        if not ended and now - self._written < EVERY_S:
            return
        self._written = now
        running = [] if ended else [[*ref, graph.nodes[ref].label] for ref in sorted(graph.running)]
        failed = [[*ref, one.status, one.reason] for ref, one in sorted(graph.ended.items()) if not one.ok]
        facts: dict[str, Any] = {"updated": now, "ended": ended, "running": running, "failed": failed}
        self._store.write_json(self._name, self._head | facts)
