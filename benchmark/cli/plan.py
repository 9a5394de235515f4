"""`backstop plan`: what a run would do."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from benchmark.cli.collecting import uncollected
from benchmark.config.spec import Experiment
from benchmark.engine.asked import Only, first_left, select, share_of
from benchmark.engine.plan import plan as make_plan
from benchmark.engine.probe import MEASURED_S, Pace, pace_of
from benchmark.engine.suites import Resolved
from benchmark.output import print_json
from benchmark.stages.every import stages_of
from benchmark.stages.keys import cells_of
from benchmark.stages.preflight import check_data, check_starts, doubts
from benchmark.store.artifacts import Store

LARGE = 10e9  # bytes; of what is smaller the parts are not told
PARTS = {
    "images": "decoded images",
    "models": "models with their optimiser state",
    "repairs": "repairs at their defaults",
    "trials": "weights that trials keep for the rules and the front",
    "chosen": "these at most once records stand on them, after `backstop store gc --trials`",
}
RAY_START_S = 30.0  # of Ray and its workers, on two cores


@uncollected()
def plan(
    resolved: Resolved,
    store: Store,
    only: Only,
    limit: int | None,
    *,
    may_probe: bool = True,
    views_per_s: float | None = None,
    as_json: bool,
) -> None:
    """Prints what a run would do."""
    suite_cells = cells_of(resolved.suite)
    cells = first_left(store, select(suite_cells, only), limit)
    check_data(cell.experiment for cell in cells)
    check_starts(cells, store)
    paces: dict[str, Pace] = {}

    def probed() -> dict[str, float]:
        paces.update(_probe_paces([cell.experiment for cell in cells]) if may_probe else {})
        return {name: pace.views_per_s for name, pace in paces.items()}

    stages_here = stages_of(resolved.suite, resolved.plugins)
    planned = make_plan(store, cells, probed, stages=stages_here, views_per_s=views_per_s or 0.0)
    stages, left, disk, known = planned.stages, planned.cells_left, planned.storage, planned.seconds
    if as_json:
        facts = {"suite": resolved.suite.name, "cells": len(cells), "to_do": left, "seconds": known}
        facts |= {"disk_bytes": disk.total, "storage": disk._asdict(), "views_per_s": views_per_s}
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
    told = _assumed(known, views_per_s) if views_per_s else _told(known, list(paces.values()))
    facts = Table.grid(padding=(0, 2, 0, 0))
    facts.add_row("\ntime", f"\n{told if any(stage.total > stage.found for stage in stages) else 'none'}")
    facts.add_row("disk", f"about {_size(disk.total)} more under {store.root}" if disk.total else "no more")
    for part, size in disk._asdict().items():
        if size and disk.total > LARGE:
            facts.add_row("", f"{_size(size)} of {PARTS[part]}")
    console.print(facts)
    for line in doubts(cell.experiment for cell in cells):
        console.print(f"[yellow]note: {escape(line)}[/yellow]")


def _probe_paces(experiments: Sequence[Experiment]) -> dict[str, Pace]:
    """The pace of each model, with its largest batch; what cannot be probed is left out."""
    batches: dict[str, int] = {}
    for item in experiments:
        batches[item.model.name] = max(batches.get(item.model.name, 0), item.pretrain.batch_size)
    with Console(stderr=True).status("trying out how fast this machine trains …"):
        found = {name: pace_of(name, batch) for name, batch in batches.items()}
    return {name: pace for name, pace in found.items() if pace}


def _told(seconds: float | None, paces: Sequence[Pace]) -> str:
    """The time in words: on one slot, and where a probe told it, on all slots of this machine."""
    if seconds is None:
        return "not known: this store has no past record to go by, and no probe was made"
    if not paces:
        return f"{_time(seconds)} on one slot, by past records of this store"
    slots, device = paces[0].slots, paces[0].device
    here = _time(seconds / slots + RAY_START_S)
    minutes = round(max(pace.age_s for pace in paces) / 60)
    source = f"estimated from a {MEASURED_S:g} s probe of its {device}" + (f", {minutes} min ago" if minutes else "")
    return f"about {here} on this machine (start of Ray, {slots} slots), {_time(seconds)} on one slot; {source}"


def _assumed(seconds: float | None, views_per_s: float) -> str:
    """The hours of one slot, a GPU where there is one, at a throughput that was given."""
    hours = (seconds or 0.0) / 3600
    digits = 0 if hours >= 10 else 1
    return f"{hours:,.{digits}f} GPU-hours, at {views_per_s:,.0f} images trained on a second by one GPU (--views-per-s)"


def _size(size: int) -> str:
    if size < 1e9:
        return f"{size / 1e6:,.0f} MB"
    return f"{size / 1e9:,.0f} GB" if size > LARGE else f"{size / 1e9:.1f} GB"


def _time(seconds: float | None) -> str:
    if seconds is None:
        return "not known"
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
