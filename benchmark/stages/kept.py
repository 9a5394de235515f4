"""Which weights a trial keeps beside the trials that ended before it, where a search asks for that (`front_strips`).

A trial alone keeps all that the cell may choose: of a model of 100 million weights that fills a disk. Beside the others
it keeps what none of them beats. What stands in a cell's choice at the end was never beaten, and so was kept; more
trials may displace it and never bring back what it beat. Trials that were run for a larger search may miss what a
smaller one chooses: they are found here, and run again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from benchmark.config.spec import Search
from benchmark.stages.keys import defend_key
from benchmark.stages.trial import SearchCell, describe, epochs_of, repair_of, rows_of
from benchmark.store.artifacts import Store
from tuners import search_space
from tuners.front import front_of, front_rows
from tuners.queue import CellSearch
from tuners.selection_rules import Row, preferred_rows, search_rules


class Run(NamedTuple):
    """A trial as rows are named by it, and its artifact."""

    trial: int
    phase: str
    strength: float | None
    key: str


def beside(store: Store, searched: SearchCell, config: Mapping[str, Any]) -> tuple[Any, bool]:
    """What a trial keeps beside those that have ended, and whether its artifact lacks some of that.

    Returns:
        A function from measured epochs to the epochs that are kept, and True where the trial must run again.
    """
    search = describe(searched, partial(store.facts, "defend"))
    same = config["parameters"] == dict(search.defaults)  # two trials of equal values share an artifact
    trial, phase = (0, "default") if same else (config["trial"], config["phase"])
    own = _run(searched, trial, phase, config["parameters"])
    others = [run for run in _ended(searched, search) if run.key != own.key]
    rows = tuple(row for run in others for row in _rows(store, run))
    keep = partial(_kept, run=own, others=rows, searched=searched)
    there = store.find("defend", own.key)
    return keep, there is not None and bool(keep(epochs_of(store, own.key)) - stored_epochs(there.hashes))


def without_lost(store: Store, searched: SearchCell, search: CellSearch) -> CellSearch:
    """A search whose ended trials all have the weights that it would choose now; the others are to be run again."""
    asked = searched.cell.experiment.search
    if asked is None or not asked.front_strips:
        return search
    runs = {run.trial: run for run in _ended(searched, search)}
    rows = [row for run in runs.values() for row in _rows(store, run)]
    lost = set()
    for row in _chosen(rows, asked, searched):
        key = runs[row.trial].key
        there = store.find("defend", key)
        if there is None or row.epoch not in stored_epochs(there.hashes):
            lost.add(key)
    return search._replace(finished=tuple(item for item in search.finished if runs[item.trial].key not in lost))


def _kept(epochs: Sequence[Mapping[str, Any]], *, run: Run, others: Sequence[Row], searched: SearchCell) -> set[int]:
    search = searched.cell.experiment.search
    assert search is not None
    own = rows_of(epochs, trial=run.trial, phase=run.phase, strength=run.strength)
    return {row.epoch for row in _chosen([*others, *own], search, searched) if row.trial == run.trial}


def _chosen(rows: Sequence[Row], search: Search, searched: SearchCell) -> list[Row]:
    """What the rules and the front would take."""
    numbers = {"floor": searched.floor, "start_accuracy": searched.start_accuracy}
    return [*preferred_rows(rows, search_rules(search, **numbers)), *front_rows(rows, front_of(search, **numbers))]


def _ended(searched: SearchCell, search: CellSearch) -> list[Run]:
    return [_run(searched, item.trial, item.phase, item.parameters) for item in search.finished]


def _run(searched: SearchCell, trial: int, phase: str, parameters: Mapping[str, Any]) -> Run:
    repair = repair_of(searched.cell, parameters)
    return Run(trial, phase, search_space.strength(repair), defend_key(searched.cell, repair))


def _rows(store: Store, run: Run) -> list[Row]:
    return rows_of(epochs_of(store, run.key), trial=run.trial, phase=run.phase, strength=run.strength)


def stored_epochs(files: Mapping[str, str]) -> set[int]:
    """Epochs whose weights are among the files of a repair's artifact."""
    stems = (name.removesuffix(".safetensors") for name in files if name.endswith(".safetensors"))
    return {int(stem.removeprefix("epoch-")) for stem in stems if stem.startswith("epoch-")}
