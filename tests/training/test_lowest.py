"""Which epochs are run and whose weights stand: stopping inside a schedule, and the lowest validation loss."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from benchmark.config.overrides import override
from benchmark.engine.driver import SuiteRun
from benchmark.engine.local import LocalExecutor
from benchmark.engine.monitor import Monitor
from benchmark.errors import UserError
from benchmark.models.clip import ClipModel
from benchmark.objectives.mmcl import MMCL
from benchmark.stages.common import Compute
from benchmark.stages.keys import cells_of
from benchmark.store.artifacts import Store
from benchmark.training.loop import EpochEnd, LoopOptions, train
from benchmark.training.lowest import better
from benchmark.types import Training
from suites.smoke import suite
from tests.helpers.miniature import SMALLEST
from tests.helpers.tiny import differing, model, pairs, tensors

pytestmark = pytest.mark.unit
NAN, INF = math.nan, math.inf
SHORT = Training(epochs=4, batch_size=16, learning_rate=2e-3, warmup_steps=3, norm_group=8)
LOWEST = SHORT.model_copy(update={"take": "lowest_validation_loss"})


def losses(*values: float) -> Callable[[ClipModel], float]:
    found: Iterator[float] = iter(values)
    return lambda _: next(found)


def test_a_training_that_stops_early_is_the_beginning_of_the_whole_one() -> None:
    whole = train(model(), pairs(), MMCL(), SHORT, seed=3)
    stopped = train(model(), pairs(), MMCL(), SHORT.model_copy(update={"stop_after": 2}), seed=3)
    assert stopped.history == whole.history[:2]  # the rate goes on falling towards the end of all four epochs


def test_the_epoch_of_the_lowest_validation_loss_stands_with_its_optimiser_state() -> None:
    second = train(model(), pairs(), MMCL(), SHORT.model_copy(update={"stop_after": 2}), seed=3)
    options = LoopOptions(validation_loss=losses(3.0, 1.0, 2.0, 1.0))  # of equal ones the first
    found = train(model(), pairs(), MMCL(), LOWEST, seed=3, options=options)
    assert differing(tensors(found.model), tensors(second.model)) == []
    assert differing(found.optimizer, second.optimizer) == []
    assert [row["validation_loss"] for row in found.history] == [3.0, 1.0, 2.0, 1.0]


@pytest.mark.parametrize(
    ("measured", "stands"),
    [
        ([2.0], 1),
        ([2.0, 1.0, 3.0], 2),
        ([2.0, 1.0, 1.0], 2),  # of equal ones the first
        ([2.0, NAN, 3.0], 1),  # no number is no loss
        ([NAN, 3.0, 2.0], 3),
        ([3.0, 2.0, NAN], 2),
        ([NAN, NAN], 0),  # nothing is kept: the last epoch's weights stand
        ([3.0, INF, 2.0], 3),
    ],
)
def test_the_first_of_the_lowest_losses_that_are_numbers_is_kept(measured: list[float], stands: int) -> None:
    best: dict[str, torch.Tensor] = {}
    history: list[dict[str, float]] = []
    for epoch, loss in enumerate(measured, 1):
        history.append({"validation_loss": loss})
        best = better(best, {"weight": torch.tensor(epoch)}, {"moment": torch.tensor(-epoch)}, history)
    assert {name: int(value) for name, value in best.items()} == (
        {"network/weight": stands, "optimizer/moment": -stands} if stands else {}
    )


def test_the_best_epoch_survives_an_interruption(tmp_path: Path) -> None:
    def die(end: EpochEnd, _: ClipModel) -> None:
        if end.epoch == 3:
            raise InterruptedError

    whole = train(model(), pairs(), MMCL(), LOWEST, seed=3, options=LoopOptions(validation_loss=losses(2, 1, 4, 3)))
    options = LoopOptions(checkpoint_folder=tmp_path, validation_loss=losses(2, 1, 4), on_epoch=die)
    with pytest.raises(InterruptedError):
        train(model(), pairs(), MMCL(), LOWEST, seed=3, options=options)
    options = LoopOptions(checkpoint_folder=tmp_path, validation_loss=losses(3))
    resumed = train(model(seed=9), pairs(), MMCL(), LOWEST, seed=3, options=options)
    assert differing(tensors(whole.model), tensors(resumed.model)) == []
    assert whole.history == resumed.history


def test_a_method_cannot_take_an_epoch_by_a_loss_that_nobody_measures() -> None:
    with pytest.raises(UserError, match=r"training\.take must be last"):
        train(model(), pairs(), MMCL(), LOWEST, seed=3)


def test_pretraining_measures_the_validation_pairs_of_its_own_set(tmp_path: Path) -> None:
    settings = dict(text.split("=", 1) for text in (*SMALLEST, "pretrain.epochs=2", "repairs=[]"))
    small = override(suite(), settings | {"pretrain.take": "lowest_validation_loss"})
    store, cells = Store(tmp_path), cells_of(small)
    monitor = Monitor(quiet=True)
    SuiteRun(store, small, cells, cells, LocalExecutor(store, monitor, Compute(), threads=1), monitor).run()
    facts = store.facts("pretrain", cells[0].keys.twin)
    assert facts is not None
    measured = [row["validation_loss"] for row in facts["history"]]
    assert len(set(measured)) == 2
    assert all(0 < loss < 10 for loss in measured)
