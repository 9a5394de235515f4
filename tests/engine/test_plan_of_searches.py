"""A plan counts the trials that a stopped or extended search has already, as the run will find them."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmark.engine.plan import StagePlan, plan
from benchmark.stages.keys import defend_key
from benchmark.stages.trial import SearchCell, describe, repair_of
from benchmark.store.artifacts import Store
from tests.helpers.finished import searched
from tuners.queue import CellState

pytestmark = pytest.mark.unit


def _searches(store: Store, trials: int) -> StagePlan:
    cell = searched(trials=trials, quasi_random=4)
    return next(stage for stage in plan(store, [cell]).stages if stage.stage == "search")


def test_trials_that_are_there_are_neither_counted_nor_paid_again(tmp_path: Path) -> None:
    store, cell = Store(tmp_path), searched(trials=4, quasi_random=4)
    fresh = _searches(store, 4)
    assert (fresh.total, fresh.found) == (4, 0)

    store.draft("pretrain", cell.keys.pretrain).commit({})
    queue = CellState(describe(SearchCell(cell, 0.0, None), lambda key: None))
    for proposal in (queue.ask(), queue.ask(), queue.ask()):  # the defaults and two points
        assert proposal is not None
        key = defend_key(cell, repair_of(cell, proposal.parameters))
        store.draft("defend", key).commit({"status": "ok", "accuracy": 0.5, "asr": 0.1})
    stopped, extended = _searches(store, 4), _searches(store, 9)
    assert (stopped.total, stopped.found) == (4, 2)
    assert (extended.total, extended.found) == (9, 2)
    assert stopped.work < extended.work
