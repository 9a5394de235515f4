"""A trial of a search: the repair with the trial's values, run and kept like any other repair."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import pyarrow.parquet as pq

from benchmark.config.spec import Experiment, Search
from benchmark.stages.cells import Cell
from benchmark.stages.common import required
from benchmark.stages.keys import defend_key, search_key
from benchmark.store.artifacts import Store
from benchmark.types import Repair
from tuners import search_space
from tuners.front import Front, front_epochs, front_of
from tuners.queue import CellSearch, Proposal, TrialResult, recover
from tuners.selection_rules import Row, Rule, default_rule, preferred_epochs, search_rules

Tick = Callable[[str, float], None]


class SearchCell(NamedTuple):
    """A searched cell and what its trials are told: validation numbers of its undefended model and clean twin."""

    cell: Cell
    start_accuracy: float
    floor: float | None


def repair_of(cell: Cell, parameters: Mapping[str, Any]) -> Repair:
    """The cell's repair with a trial's values."""
    assert cell.experiment.repair is not None
    return search_space.apply(cell.experiment.repair, parameters)


def epochs_of(store: Store, key: str) -> list[dict[str, Any]]:
    """The measured epochs (`schemas.EPOCHS`) of a repair run."""
    return pq.read_table(required(store, "defend", key).path("epochs.parquet")).to_pylist()


def rows_of(epochs: Sequence[Mapping[str, Any]], *, trial: int, phase: str, strength: float | None) -> list[Row]:
    """Measured epochs (`schemas.EPOCHS`) as rows that the rules read."""
    return [
        Row(
            trial=trial,
            epoch=epoch["epoch"],
            phase=phase,
            accuracy=epoch["validation_accuracy"],
            asr=epoch["validation_asr"],
            loss=epoch["validation_loss"],
            strength=strength,
        )
        for epoch in epochs
    ]


def rules_of(search: Search | None, *, start_accuracy: float, floor: float | None) -> tuple[Rule, ...]:
    """The selection rules of a cell."""
    if search is None:
        return (default_rule(),)
    return search_rules(search, floor=floor, start_accuracy=start_accuracy)


def kept_epochs(
    epochs: Sequence[Mapping[str, Any]], *, rules: Sequence[Rule], strength: float | None, front: Front | None = None
) -> set[int]:
    """Epochs of a run whose weights some rule may select, or that may stand on the cell's front.

    Phase and trial are left open (a run with the same values may stand in any phase), so the default rule's last epoch
    and the trigger-blind rule's choice are kept for every run.
    """
    rows = rows_of(epochs, trial=0, phase="quasi_random", strength=strength)
    return preferred_epochs(rows, rules) | (front_epochs(rows, front) if front else set())


def keeper(experiment: Experiment, repair: Repair, *, start_accuracy: float, floor: float | None) -> Any:
    """`kept_epochs` with everything but the epochs filled in; it pickles."""
    search = experiment.search
    rules = rules_of(search, start_accuracy=start_accuracy, floor=floor)
    front = front_of(search, floor=floor, start_accuracy=start_accuracy) if search else None
    return partial(kept_epochs, rules=rules, strength=search_space.strength(repair), front=front)


def describe(searched: SearchCell, lookup: Callable[[str], Mapping[str, Any] | None]) -> CellSearch:
    """The search of a cell, with the trials that are in the store already.

    Args:
        searched: the cell.
        lookup: finds the facts of a defend artifact by key.
    """
    cell = searched.cell
    experiment = cell.experiment
    assert experiment.repair is not None and experiment.search is not None
    ranges = search_space.ranges(experiment.repair, experiment.space)
    fresh = CellSearch(
        cell=cell.keys.record,
        search_key=search_key(cell),
        search=experiment.search,
        space=ranges,
        defaults=search_space.values(experiment.repair, ranges),
    )

    def stored(proposal: Proposal) -> TrialResult | None:
        facts = lookup(defend_key(cell, repair_of(cell, proposal.parameters)))
        return None if facts is None else TrialResult.of(proposal.config(), facts)

    return recover(fresh, stored)


def trial_rows(
    cell: Cell,
    result: Any,
    epochs: Sequence[Mapping[str, Any]],
    *,
    artifact: str,
    strength: float | None,
    start: float,
    floor: float | None,
) -> list[dict[str, Any]]:
    """Rows of `schemas.TRIALS`: one per measured epoch of a trial, one empty row for a trial that measured none."""
    head = {
        "cell": cell.keys.record,
        "trial": result.trial,
        "phase": result.phase,
        "round": result.round,
        "parameters": json.dumps(result.parameters, sort_keys=True),
        "strength": strength,
        "status": result.status,
        "reason": result.reason,
        "artifact": artifact,
        "wall_s": result.wall_s,
        "validation_floor": floor,
        "validation_start": start,
    }
    return [head | dict(epoch) for epoch in epochs] or [head]
