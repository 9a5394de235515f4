"""The last lines of `backstop run`: what there is now, and its exit code."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from benchmark.engine.asked import share_of
from benchmark.engine.live import clock
from benchmark.engine.published import shelves
from benchmark.engine.reproduction import reproduced
from benchmark.engine.reproduction import told as told_of
from benchmark.engine.running import Ran
from benchmark.engine.suites import options_of
from benchmark.output import print_json
from benchmark.store.artifacts import Store

REASONS = 3  # that are told
# What a command that was asked for these cells did not do. All other statuses are results: an attack that did not
# plant, a repair that met no bound, a method that does not apply.
NOT_MEASURED = frozenset({"failed", "out_of_memory", "timed_out", "missing"})


def tell(ran: Ran, store: Store, *, as_json: bool) -> int:
    """Prints what there is after a run; 1 where a cell that was asked for was not measured."""
    counts = dict(sorted(Counter(ran.statuses).items()))
    further = {title: dict(sorted(found.items())) for title, found in ran.further.items()}
    code = int(any(not NOT_MEASURED.isdisjoint(found) for found in (counts, *further.values())))
    published = shelves(ran.suite)
    models = reproduced(store, published) if published else []
    if as_json:
        told = {"suite": ran.suite, "cells": ran.asked, "statuses": counts, "seconds": round(ran.seconds, 1)}
        reasons = Counter(ran.failures).most_common()
        told["failures"] = [{"status": status, "reason": why, "rows": rows} for (status, why), rows in reasons]
        told |= {"published_models": [one._asdict() | {"alike": one.alike} for one in models]} if models else {}
        print_json(told | ({"further": further} if further else {}), indent=None)
        return code
    made = f"{share_of(ran.asked, ran.cells)}, {_records(counts)}"
    print(f"{ran.suite}: {made} in {clock(ran.seconds)}, store {store.root}")
    for title, found in further.items():
        print(f"{title}: {_in_words(found)}")
    for line in (*failures(ran.failures), *missing(counts.get("missing", 0)), *told_of(models)):
        print(line)
    logs = store.local_root / "logs" if store.local_root else None
    if any(found.get("failed") for found in (counts, *further.values())) and logs and logs.exists():
        print(f"logs of what failed: {logs}")
    if code:
        print("to try again what failed or is missing: the same command")
    print(f"to see them: backstop board {ran.suite} {options_of(store)}")
    return code


def _records(counts: Mapping[str, int]) -> str:
    """`5 records (4 ok, 1 failed)`; what is missing is none, and has a line of its own."""
    made = {value: count for value, count in counts.items() if value != "missing"}
    total = sum(made.values())
    return f"{total} record{'' if total == 1 else 's'}" + (f" ({_in_words(made)})" if made else "")


def _in_words(counts: Mapping[str, int]) -> str:
    """Counts by status, `ok` first."""
    ordered = sorted(counts.items(), key=lambda item: item[0] != "ok")
    return ", ".join(f"{count} {value.replace('_', ' ')}" for value, count in ordered)


def failures(found: Sequence[tuple[str, str]]) -> list[str]:
    """What failed and why: a line for each of the reasons that befell most rows, and how many others there are."""
    reasons = Counter(found).most_common()
    lines = [
        f"{count} {status.replace('_', ' ')}: {reason or 'no reason told'}"
        for (status, reason), count in reasons[:REASONS]
    ]
    more = sum(count for _, count in reasons[REASONS:])
    return [*lines, *([f"and {more} more, for {len(reasons) - REASONS} other reasons"] if more else [])]


def missing(cells: int) -> list[str]:
    """How many cells have no record at all."""
    return [f"{cells} missing: no record was written"] if cells else []
