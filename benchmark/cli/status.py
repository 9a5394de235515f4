"""`backstop status`: how every cell of a suite stands, in the middle of a run too, and after a kill."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console

from benchmark.cli.collecting import uncollected
from benchmark.engine.asked import Only, select_places, share_of
from benchmark.engine.journal import LastRun, last_run
from benchmark.engine.live import clock
from benchmark.engine.standing import Standing, Trajectories, standings, trajectories_of
from benchmark.engine.suites import options_of
from benchmark.output import print_json
from benchmark.store.artifacts import Store
from benchmark.store.suites import suite_document

AXES = ("objective", "attack", "defense", "seed")


@uncollected()
def status(name: str, store: Store, only: Only, *, as_json: bool) -> None:
    """Prints how the cells of a suite stand; the suite's document, its records and the journal of its run tell."""
    document = suite_document(store, name)
    cells = [document["cells"][place] for place in select_places(document["cells"], only)]
    run = last_run(store, name)
    found, rebound = standings(store, cells, run), trajectories_of(store, document, run)
    if as_json:
        told = {"suite": name, "run": _run_facts(run), "cells": _rows(cells, found)}
        print_json(told | ({"rebound": rebound._asdict()} if rebound else {}))
        return
    console = Console(highlight=False, markup=False)
    states = Counter(one.state for one in found)
    command = f"{document.get('command', f'backstop run {name}')} {options_of(store)}"
    console.print(f"{name}: {_head(run, command, left=states['waiting'] > 0)}\n", soft_wrap=True)
    print(_table(cells, found))
    counts = Counter(value.replace("_", " ") for one in found for value in one.statuses.values())
    told = ", ".join(f"{states[state]} {state}" for state in ("done", "running", "failed", "waiting") if states[state])
    rules = "; by selection rule: " + ", ".join(f"{number} {value}" for value, number in counts.most_common())
    console.print(f"\n{share_of(len(cells), len(document['cells']))}: {told}{rules if counts else ''}", soft_wrap=True)
    if rebound:
        console.print(_in_trajectories(rebound), soft_wrap=True)


def _in_trajectories(rebound: Trajectories) -> str:
    """`rebound: 36 trajectories there, 1 running`, of the whole suite."""
    counts = rebound._asdict().items()
    told = [f"{number} {state}" for state, number in counts if number and state != "there"]
    return ", ".join([f"rebound: {rebound.there} trajector{'y' if rebound.there == 1 else 'ies'} there", *told])


def _run_facts(run: LastRun) -> dict[str, Any]:
    where = {"host": run.host, "process": run.process, "others": run.others}
    return {"state": run.state, **where, "silent_s": round(run.silent_s, 1)}


def _rows(cells: Sequence[Mapping[str, Any]], found: Sequence[Standing]) -> list[dict[str, Any]]:
    """A row for each selection rule of a record, and one for a cell without a record."""
    return [
        {part: value for part, value in cell.items() if part != "nodes"}
        | {"selection": selection, "status": value, "state": one.state, "what": one.what}
        for cell, one in zip(cells, found, strict=True)
        for selection, value in (one.statuses or {"": "missing"}).items()
    ]


def _head(run: LastRun, command: str, *, left: bool) -> str:
    """How the last run stands, and how to go on where it left cells."""
    on = f"; to go on: {command}" if left else ""
    ago, where = f"{clock(run.silent_s)} ago", f"process {run.process} on {run.host}"
    others = f"; so {'is 1 other' if run.others == 1 else f'are {run.others} others'}" if run.others else ""
    return {
        "none": "no run has written here yet",
        "alive": f"a run is alive, {where}; it wrote {ago}{others}",
        "ended": f"the last run ended {ago}{on}",
        "died": f"the last run died, {where}; it last wrote {ago}; to go on: {command}",
    }[run.state]


def _table(cells: Sequence[Mapping[str, Any]], found: Sequence[Standing]) -> str:
    """A line for each cell, in columns. Plain text: a suite may have ten thousand cells."""
    places = [{axis: _label(cell, axis) for axis in AXES} for cell in cells]
    axes = [axis for axis in AXES if axis != "seed" or len({place["seed"] for place in places}) > 1]
    shown = {axis: _shortest({place[axis] for place in places}) for axis in axes}
    rows = [
        [*(shown[axis][place[axis]] for axis in axes), _told(one)] for place, one in zip(places, found, strict=True)
    ]
    rows.insert(0, [*axes, "status"])
    widths = [max(len(row[column]) for row in rows) for column in range(len(axes))]
    return "\n".join("  ".join([*(map(str.ljust, row, widths)), row[-1]]) for row in rows)


def _label(cell: Mapping[str, Any], axis: str) -> str:
    if axis != "defense":
        return str(cell[axis])
    return next((cell[kind] for kind in ("repair", "detector") if cell.get(kind, "none") != "none"), "none")


def _shortest(labels: set[str]) -> dict[str, str]:
    """Labels without their fields, where that leaves them apart."""
    bare = {label: label.partition("(")[0] for label in labels}
    counts = Counter(bare.values())
    return {label: name if counts[name] == 1 else label for label, name in bare.items()}


def _told(one: Standing) -> str:
    """One cell in words; of a record its statuses, and the rules where there is more than one."""
    if one.state == "waiting":
        return f"waiting for {one.what}"
    if one.state != "done":
        return one.what if one.state == "failed" else f"running {one.what}"
    rules: dict[str, list[str]] = {}
    for selection, value in one.statuses.items():
        rules.setdefault(value.replace("_", " "), []).append(selection.replace("_", " "))
    several = len(one.statuses) > 1
    return "; ".join(f"{value} ({', '.join(names)})" if several else value for value, names in rules.items())
