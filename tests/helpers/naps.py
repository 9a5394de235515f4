"""`python -m tests.helpers.naps STORE`: a driver of a made-up stage whose nodes take a while; prints what it made."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from benchmark.engine.driver import SuiteRun
from benchmark.engine.local import LocalExecutor
from benchmark.engine.monitor import Monitor
from benchmark.stages.cells import Cell
from benchmark.stages.common import Compute
from benchmark.stages.keys import cells_of
from benchmark.stages.node import Node, Ref, Rows, Stage, Workplace
from benchmark.store.artifacts import open_store
from tests.helpers.finished import SUITE

NUM_NAPS, SECONDS = 12, 0.15


class Nap(Stage):
    """Sleeps; the last one needs all of the others."""

    name = "nap"
    title = "naps"

    def nodes(self, cell: Cell, rows: Rows) -> Iterable[Node]:
        """The same for every cell."""
        first = [Node(self, f"k{number}", f"nap {number}") for number in range(NUM_NAPS)]
        yield from first
        yield Node(self, "last", "the last nap", inputs=tuple(Ref("nap", node.key) for node in first))

    def run(self, nodes: Sequence[Node], at: Workplace) -> Mapping[str, Any]:
        """Sleeps, and says so."""
        time.sleep(SECONDS)
        draft = at.store.draft("nap", nodes[0].key)
        draft.path("nap.txt").write_text("slept")
        draft.commit({"wall_s": SECONDS})
        print(nodes[0].key, flush=True)
        return {}


if __name__ == "__main__":
    store, cells = open_store(sys.argv[1]), cells_of(SUITE)[:1]
    with Monitor(quiet=True) as monitor:
        SuiteRun(store, SUITE, cells, cells, LocalExecutor(store, monitor, Compute()), monitor, stages=[Nap()]).run()
