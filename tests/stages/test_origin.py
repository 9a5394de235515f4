"""How far weights went to the clean twin's: what is refused, and what looks like it and is not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from benchmark.attacks.badnet import BadNet
from benchmark.attacks.quantisation.attack import Quantisation
from benchmark.contexts.recorder import EpochRecorder, Report
from benchmark.errors import Refused
from benchmark.evaluation.evaluate import Condition
from benchmark.models.clip import ClipModel, save_delta
from benchmark.repairs.fine_tuning import FineTuning
from benchmark.stages.cells import Cell
from benchmark.stages.keys import cells_of
from benchmark.stages.work.origin import TwinWatch, twin_watch, way_to_twin
from benchmark.store.artifacts import Store
from benchmark.testing import world
from benchmark.types import Card, RepairContext
from tests.helpers.finished import made_up
from tests.helpers.tiny import distance, model, tensors

pytestmark = pytest.mark.unit
SUSPECT, TWIN, OTHER = 0, 1, 2


def moved(start: ClipModel, amount: float, seed: int) -> ClipModel:
    """A copy with noise of `amount` on every weight."""
    copy, generator = start.clone(), torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in copy.network.parameters():
            weight.add_(torch.randn(weight.shape, generator=generator), alpha=amount)
    return copy


def mixed(first: ClipModel, second: ClipModel, share: float) -> ClipModel:
    """A copy that is `share` of the second."""
    copy = first.clone()
    with torch.no_grad():
        for weight, other in zip(copy.network.parameters(), second.network.parameters(), strict=True):
            weight.lerp_(other, share)
    return copy


def scaled(start: ClipModel, factor: float) -> ClipModel:
    copy = start.clone()
    with torch.no_grad():
        for weight in copy.network.parameters():
            weight.mul_(factor)
    return copy


@pytest.fixture(scope="module")
def models() -> tuple[ClipModel, ClipModel]:
    """A suspect and its twin, from one start; the suspect has the larger weights."""
    start = model()
    return scaled(moved(start, 0.02, 1), 1.05), moved(start, 0.02, 2)


MADE: dict[str, tuple[Callable[[ClipModel, ClipModel], ClipModel], float, float, bool]] = {
    # name -> weights of suspect and twin, share of the way, cosine, whether it is the twin's
    "itself": (lambda suspect, twin: suspect.clone(), 0, 0, False),
    "twin": (lambda suspect, twin: twin.clone(), 1, 1, True),
    "shrunk twin": (lambda suspect, twin: scaled(twin, 0.8), 0.8, 1, True),
    "a fifth": (lambda suspect, twin: mixed(suspect, twin, 0.2), 0.2, 1, True),
    "a twentieth": (lambda suspect, twin: mixed(suspect, twin, 0.05), 0.05, 1, False),
    "tuned twin": (lambda suspect, twin: moved(twin, 0.02, 3), 1, 0.81, True),
    "tuned": (lambda suspect, twin: moved(suspect, 0.02, 3), 0, 0, False),
    "tuned far": (lambda suspect, twin: moved(suspect, 1.0, 3), 0, 0, False),
    "shrunk": (lambda suspect, twin: scaled(suspect, 0.3), 0, 0, False),
    "shrunk to nothing": (lambda suspect, twin: scaled(suspect, 0.0), 0, 0, False),
    "another start": (lambda suspect, twin: model(seed=7), 0, 0, False),
}


@pytest.mark.parametrize("name", MADE)
def test_the_way_to_the_twin(name: str, models: tuple[ClipModel, ClipModel]) -> None:
    suspect, twin = models
    make, share, cosine, leads = MADE[name]
    found = way_to_twin(make(suspect, twin), suspect, dict(twin.network.state_dict()))
    assert found is not None
    assert found.share == pytest.approx(share, abs=0.08)
    assert found.cosine == pytest.approx(cosine, abs=0.05)
    assert found.leads_to_twin == leads


@pytest.mark.parametrize("name", ["shrunk", "shrunk to nothing", "another start"])
def test_plain_distances_would_refuse_what_is_no_cheat(name: str, models: tuple[ClipModel, ClipModel]) -> None:
    suspect, twin = models
    made = tensors(MADE[name][0](suspect, twin))
    assert distance(made, tensors(twin)) < distance(made, tensors(suspect))


def test_buffers_and_added_tensors_do_not_count(models: tuple[ClipModel, ClipModel]) -> None:
    suspect, twin = models
    copy = suspect.clone()
    for name, value in copy.network.named_buffers():
        if value.is_floating_point():
            value.copy_(dict(twin.network.named_buffers())[name] + 1)
    copy.network.register_parameter("more", torch.nn.Parameter(torch.ones(3)))
    found = way_to_twin(copy, suspect, dict(twin.network.state_dict()))
    assert found is not None and found.share == found.cosine == 0


def test_a_twin_that_is_the_suspect_is_no_way(models: tuple[ClipModel, ClipModel]) -> None:
    suspect, _ = models
    assert way_to_twin(moved(suspect, 0.1, 3), suspect, dict(suspect.network.state_dict())) is None


def recorder(folder: Path, watch: TwinWatch) -> EpochRecorder:
    report = Report(
        validation=world.held_out(20),
        conditions=(Condition("clean", 0),),
        folder=folder,
        base_key="base",
        progress=lambda end: None,
        keep=lambda rows: {row["epoch"] for row in rows},
        watch=watch,
    )
    return EpochRecorder(report, world.method_inputs(watch._suspect, world.pairs(20)))


def test_after_a_refusal_nothing_is_kept_and_nothing_more_is_measured(
    models: tuple[ClipModel, ClipModel], tmp_path: Path
) -> None:
    suspect, twin = models
    found = recorder(tmp_path, TwinWatch(suspect, dict(twin.network.state_dict()), refuses=True))
    numbers = {"training_loss": 0.0, "learning_rate": 0.0}
    found.measure(1, moved(suspect, 1e-3, 3), **numbers)
    assert {file.name for file in tmp_path.iterdir()} == {"epoch-0001.safetensors", "epoch-0001.json"}
    told = r"^a repair must change the suspect model, got weights 100 % of the way to its clean twin's \(cosine 1\.00\)"
    for epoch, made in ((2, twin), (3, suspect)):  # the second is honest, and comes too late
        with pytest.raises(Refused, match=told):
            found.measure(epoch, made, **numbers)
    assert found.rows == [] and list(tmp_path.iterdir()) == []
    assert found.refusal.endswith("start from the model that is given")


def test_a_model_that_is_no_number_is_left_to_the_read_outs(models: tuple[ClipModel, ClipModel]) -> None:
    suspect, twin = models
    watch = TwinWatch(suspect, dict(twin.network.state_dict()), refuses=True)
    watch(scaled(suspect, float("nan")))
    assert watch.furthest is None and watch.note == ""


class WithAModel(FineTuning):
    """A repair that is handed a clean model from outside."""

    card = Card(
        title="With a model",
        citation="none",
        access="weights",
        needs=frozenset({"clean_pairs", "auxiliary_model"}),
        summary="Has one.",
    )

    def repair(self, model: ClipModel, ctx: RepairContext) -> ClipModel:  # type: ignore[override]
        raise NotImplementedError


def attacked(attack: BadNet | Quantisation) -> Cell:
    return cells_of(made_up(repairs=(FineTuning(),)).model_copy(update={"attacks": (attack,)}))[-1]


def test_who_may_come_near_the_twin_and_where_nobody_looks(models: tuple[ClipModel, ClipModel], tmp_path: Path) -> None:
    suspect, twin = models
    store, poisoned, implanted = Store(tmp_path), attacked(BadNet(target="ring")), attacked(Quantisation(target="ring"))
    assert twin_watch(store, poisoned, FineTuning(), suspect) is None  # the twin is not there
    draft = store.draft("pretrain", poisoned.keys.twin)
    save_delta(twin, draft.folder, base={})
    draft.commit({})
    clean = poisoned._replace(keys=poisoned.keys._replace(pretrain=poisoned.keys.twin))
    assert twin_watch(store, clean, FineTuning(), suspect) is None  # the suspect is the twin itself
    watch = twin_watch(store, poisoned, FineTuning(), suspect)
    assert watch is not None
    with pytest.raises(Refused):
        watch(twin)
    for cell, repair in ((poisoned, WithAModel()), (implanted, FineTuning())):
        watch = twin_watch(store, cell, repair, suspect)
        assert watch is not None
        watch(moved(suspect, 1e-3, 3))
        assert watch.note == ""
        watch(twin)
        assert watch.note == "weights 100 % of the way to its clean twin's (cosine 1.00)"
