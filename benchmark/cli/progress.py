"""`backstop plan` and `backstop status`: what a run would do, and how far it got."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from benchmark.config.spec import Experiment
from benchmark.engine import plan as planning
from benchmark.engine.asked import Only, first_left, select, select_places, share_of
from benchmark.engine.probe import Pace, probe
from benchmark.engine.suites import Resolved
from benchmark.errors import UserError, unknown
from benchmark.output import print_json
from benchmark.stages import graph
from benchmark.stages.preflight import check_data, check_starts, doubts
from benchmark.store.artifacts import Store

RAY_START_S = 30.0  # of Ray and its workers, on two cores


def plan(
    resolved: Resolved, store: Store, only: Only, limit: int | None, *, may_probe: bool = True, as_json: bool
) -> None:
    """Prints what a run would do."""
    suite_cells = graph.cells(resolved.suite)
    cells = first_left(store, select(suite_cells, only), limit)
    check_data(cell.experiment for cell in cells)
    check_starts(cells, store)
    stages, paces = planning.plan(store, cells), {}
    if may_probe and None in [stage.seconds for stage in stages]:
        paces = _probe_paces([cell.experiment for cell in cells])
        rates = {name: pace.views_per_s for name, pace in paces.items()}
        stages = planning.plan(store, cells, rates)
    left, disk = len(planning.todo(store, cells)), planning.disk_estimate(store, cells, stages)
    seconds = [stage.seconds for stage in stages]
    known = None if None in seconds else sum(value or 0 for value in seconds)
    if as_json:
        facts = {"suite": resolved.suite.name, "cells": len(cells), "to_do": left, "disk_bytes": disk, "seconds": known}
        facts["probe"] = {name: pace._asdict() for name, pace in paces.items()}
        print_json(facts | {"stages": [stage._asdict() for stage in stages]})
        return
    console = Console(highlight=False)
    number = share_of(len(cells), len(suite_cells))
    console.print(f"[bold]{resolved.suite.name}[/bold]: {number}, {len(cells) - left} done, {left} to do\n")
    table = Table(box=None, pad_edge=False)
    table.add_column("stage", style="bold")
    for head in ("all", "in the store", "to make", "time on one slot"):
        table.add_column(head, justify="right")
    for stage in stages:
        missing = stage.total - stage.found
        time_left = "" if not missing or stage.seconds == 0 else _time(stage.seconds)
        table.add_row(stage.title, str(stage.total), str(stage.found), str(missing), time_left)
    console.print(table)
    told = _told(known, list(paces.values()))
    facts = Table.grid(padding=(0, 2, 0, 0))
    facts.add_row("\ntime", f"\n{told if left else 'none'}", style="")
    facts.add_row("disk", f"about {disk / 1e6:,.0f} MB more under {store.root}" if disk else "no more")
    console.print(facts)
    for line in doubts(cell.experiment for cell in cells):
        console.print(f"[yellow]note: {escape(line)}[/yellow]")


def _probe_paces(experiments: Sequence[Experiment]) -> dict[str, Pace]:
    """A probe of each model, with its largest batch; what cannot be probed is left out."""
    batches: dict[str, int] = {}
    for item in experiments:
        batches[item.model.name] = max(batches.get(item.model.name, 0), item.pretrain.batch_size)
    found = {name: probe(name, batch) for name, batch in batches.items()}
    return {name: pace for name, pace in found.items() if pace}


def _told(seconds: float | None, paces: Sequence[Pace]) -> str:
    """The time in words: on one slot, and where a probe told it, on all slots of this machine."""
    if seconds is None:
        return "not known: this store has no past record to go by, and no probe was made"
    if not paces:
        return f"{_time(seconds)} on one slot, by past records of this store"
    slots, device = paces[0].slots, paces[0].device
    here = _time(seconds / slots + RAY_START_S)
    source = f"estimated from a 2 s probe of its {device}"
    return f"about {here} on this machine (start of Ray, {slots} slots), {_time(seconds)} on one slot; {source}"


def _time(seconds: float | None) -> str:
    if seconds is None:
        return "not known"
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def status(name: str, store: Store, only: Only, *, as_json: bool) -> None:
    """Prints the status of the cells of a suite, as the store's last run wrote it down."""
    document = store.read_json(f"suites/{name}.json")
    if document is None:
        known = [path.removeprefix("suites/").removesuffix(".json") for path in store.list_json("suites")]
        told = unknown("suite", name, known) if known else f"unknown suite {name!r}; none was run in it yet"
        raise UserError(f"store {store.root}: {told}{'' if known else f'; run it first with `backstop run {name}`'}")
    cells = [document["cells"][place] for place in select_places(document["cells"], only)]
    rows = []
    for cell in cells:
        facts = store.facts("record", cell["record"])
        statuses = facts["statuses"] if facts else {"": "missing"}
        rows += [cell | {"selection": selection, "status": value} for selection, value in statuses.items()]
    if as_json:
        print_json({"suite": name, "cells": rows})
        return
    several = len({cell["seed"] for cell in cells}) > 1
    axes = ("objective", "attack", "defense", *(["seed"] if several else []))
    for cell in (*cells, *rows):
        named = [cell[kind] for kind in ("repair", "detector") if cell.get(kind, "none") != "none"]
        cell["defense"] = named[0] if named else "none"
    shown = {axis: _shortest([str(cell[axis]) for cell in cells]) for axis in axes}
    table = Table(box=None, pad_edge=False)
    for head in (*axes, "status"):
        table.add_column(head, overflow="fold")
    for _, group in groupby(rows, key=lambda row: row["record"]):
        mine = list(group)
        table.add_row(*(shown[axis][str(mine[0][axis])] for axis in axes), _statuses(mine))
    console = Console()
    console.print(table)
    counts = Counter(row["status"].replace("_", " ") for row in rows)
    told = ", ".join(f"{number} {value}" for value, number in counts.most_common())
    console.print(f"\n{share_of(len(cells), len(document['cells']))}; by selection rule: {told}", highlight=False)


def _shortest(labels: Sequence[str]) -> dict[str, str]:
    """Labels without their fields, where that leaves them apart."""
    bare = {label: label.partition("(")[0] for label in labels}
    return {label: name if list(bare.values()).count(name) == 1 else label for label, name in bare.items()}


def _statuses(rows: Sequence[Mapping[str, Any]]) -> Text:
    """One cell's statuses; the rules are named where there is more than one."""
    colours = {"ok": "green", "missing": "dim"}
    told = Text()
    for status in dict.fromkeys(row["status"] for row in rows):
        rules = ", ".join(row["selection"].replace("_", " ") for row in rows if row["status"] == status)
        told.append("; " if told else "")
        told.append(status.replace("_", " "), colours.get(status, "yellow"))
        told.append(f" ({rules})" if len(rows) > 1 else "", "dim")
    return told
