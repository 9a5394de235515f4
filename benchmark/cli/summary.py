"""The last lines of `backstop run`: what there is now, and its exit code."""

from __future__ import annotations

from collections import Counter

from benchmark.engine.asked import share_of
from benchmark.engine.monitor import clock
from benchmark.engine.running import Ran
from benchmark.output import print_json
from benchmark.store.artifacts import Store

# What a command that was asked for these cells did not do. All other statuses are results: an attack that did not
# plant, a repair that met no bound, a method that does not apply.
NOT_MEASURED = frozenset({"failed", "out_of_memory", "timed_out", "missing"})


def tell(ran: Ran, store: Store, *, as_json: bool) -> int:
    """Prints what there is after a run; 1 where a cell that was asked for was not measured."""
    counts = dict(sorted(Counter(ran.statuses).items()))
    code = int(not NOT_MEASURED.isdisjoint(counts))
    if as_json:
        told = {"suite": ran.suite, "cells": ran.asked, "statuses": counts, "seconds": round(ran.seconds, 1)}
        print_json(told, indent=None)
        return code
    told = ", ".join(f"{count} {value.replace('_', ' ')}" for value, count in counts.items())
    records = f"{len(ran.statuses) - counts.get('missing', 0)} records ({told})"
    print(f"{ran.suite}: {share_of(ran.asked, ran.cells)}, {records} in {clock(ran.seconds)}, store {store.root}")
    logs = store.local_root / "logs" if store.local_root else None
    if counts.get("failed") and logs and logs.exists():
        print(f"logs of what failed: {logs}")
    if code:
        print("to try again what failed or is missing: the same command")
    print(f"to see them: backstop board {ran.suite} --store {store.root}")
    return code
