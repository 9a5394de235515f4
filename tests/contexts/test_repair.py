"""Repairs in their context: what a card opens, what "as released" inherits, what is reported and kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from benchmark.contexts.defense import MethodInputs, pair_features
from benchmark.contexts.recorder import Collapsed, EpochRecorder, Report, weights_name
from benchmark.contexts.repair import GatedRepairContext
from benchmark.errors import CardError, NotApplicable
from benchmark.evaluation.evaluate import Condition, HeldOut
from benchmark.objectives.mmcl import MMCL
from benchmark.objectives.mmcl_ssl import MMCLSSL
from benchmark.repairs.batch_norm_only import BatchNormOnly
from benchmark.repairs.cleanclip import CleanCLIP
from benchmark.repairs.fine_tuning import FineTuning
from benchmark.repairs.ssl_only import SSLOnly
from benchmark.store.keys import derive_seed
from benchmark.training.loop import LoopOptions, Trained, train
from benchmark.types import Card, Need, Repair, Training
from tests.helpers.tiny import differing, model, pairs, tensors

pytestmark = pytest.mark.unit
PRETRAINED = Training(epochs=1, batch_size=16, learning_rate=1e-3, warmup_steps=2, weight_decay=0.7, beta2=0.98)
SHORT: dict[str, Any] = {"epochs": 2, "batch_size": 16, "warmup_steps": 2, "learning_rate": 1e-3}


@pytest.fixture(scope="module")
def suspect() -> Trained:
    return train(model("tiny-vit"), pairs(), MMCL(), PRETRAINED, seed=1)


def context(card: Card, trained: Trained, folder: Path, **changes: Any) -> GatedRepairContext:
    return opened(card, trained, folder, **changes)[0]


def opened(card: Card, trained: Trained, folder: Path, **changes: Any) -> tuple[GatedRepairContext, EpochRecorder]:
    """A context, and what the engine keeps to itself."""
    batch = pairs(20, seed=5).take(np.arange(20))
    found = HeldOut(batch.images, np.arange(20) % 3, batch.captions, np.arange(20))
    report = Report(
        validation=found,
        conditions=(Condition("clean", 0), Condition("trigger", 0, lambda images, ids: 255 - images)),
        folder=folder,
        base_key="base",
        progress=lambda end: None,
        **changes,
    )
    resources = MethodInputs(
        clean_pairs=pairs(32, seed=2),
        class_names=("circle", "square", "star"),
        templates=("a {}", "the {}"),
        model=trained.model,
        optimizer_state=lambda: (trained.optimizer, PRETRAINED),
        suspect_pairs=pairs,
        training_pairs=pairs,
        suspect_features=lambda: pair_features(trained.model, pairs()),
        trigger=None,
    )
    recorder = EpochRecorder(report, resources)
    return GatedRepairContext(card, resources, recorder, seed=9, options=LoopOptions()), recorder


def card(*needs: Need) -> Card:
    return Card(title="Asking", citation="none", access="weights", needs=frozenset(needs))


@pytest.mark.parametrize("need", ["clean_pairs", "class_names", "reference", "suspect_pairs", "trigger", "labels"])
def test_what_the_card_does_not_name_is_refused(need: Need, suspect: Trained, tmp_path: Path) -> None:
    closed, opened = context(card(), suspect, tmp_path), context(card(need), suspect, tmp_path)
    with pytest.raises(CardError, match=f"Asking asked for '{need}', which its card does not name"):
        getattr(closed, need)
    if need == "trigger":  # this model was not attacked
        with pytest.raises(NotApplicable, match="Asking needs"):
            getattr(opened, need)
    else:
        assert getattr(opened, need) is not None
    assert opened.clean_pairs_used == (32 if need == "clean_pairs" else 0)


def test_inheriting_the_optimiser_needs_the_card(suspect: Trained, tmp_path: Path) -> None:
    closed = context(card("clean_pairs"), suspect, tmp_path)
    with pytest.raises(CardError, match="'optimizer_state'"):
        closed.fit(suspect.model, closed.clean_pairs, MMCL(), Training(optimizer_state="inherit"))


def test_reference_is_a_frozen_copy(suspect: Trained, tmp_path: Path) -> None:
    found = context(card("reference"), suspect, tmp_path).reference
    assert found is not suspect.model
    assert not any(parameter.requires_grad for parameter in found.network.parameters())
    assert all(parameter.requires_grad for parameter in suspect.model.network.parameters())
    assert differing(tensors(found), tensors(suspect.model)) == []


def by_hand(suspect: Trained, objective: Any, training: Training, inherited: Any = None) -> dict[str, torch.Tensor]:
    copy = suspect.model.clone()
    train(copy, pairs(32, seed=2), objective, training, seed=derive_seed(9, "fit", 1), inherited=inherited)
    return tensors(copy)


def test_cleanclip_as_intended_starts_afresh(suspect: Trained, tmp_path: Path) -> None:
    before = tensors(suspect.model)
    repair = CleanCLIP(**SHORT, ssl_weight=2.0, weight_decay=0.2)
    found = repair.repair(suspect.model, context(repair.card, suspect, tmp_path))
    expected = by_hand(suspect, MMCLSSL(ssl_weight=2.0), Training(**SHORT, weight_decay=0.2))
    assert differing(tensors(found), expected) == []
    assert differing(before, tensors(suspect.model)) == []


def test_cleanclip_as_released_inherits_adam_and_its_weight_decay(suspect: Trained, tmp_path: Path) -> None:
    repair = CleanCLIP(**SHORT, weight_decay=0.2, variant="as_released")
    found = tensors(repair.repair(suspect.model, context(repair.card, suspect, tmp_path)))
    released = Training(**SHORT, weight_decay=0.7, beta2=0.98, schedule="as_released", text_augmentation="frozen")
    assert differing(found, by_hand(suspect, MMCLSSL(), released, suspect.optimizer)) == []
    own_decay = released.model_copy(update={"weight_decay": 0.2})
    for other in (by_hand(suspect, MMCLSSL(), released), by_hand(suspect, MMCLSSL(), own_decay, suspect.optimizer)):
        assert differing(found, other)


@pytest.mark.parametrize("repair", [FineTuning(**SHORT), SSLOnly(**SHORT), CleanCLIP(**SHORT)], ids=lambda r: r.name)
def test_every_epoch_is_measured_and_the_input_left_alone(repair: Repair, suspect: Trained, tmp_path: Path) -> None:
    before = tensors(suspect.model)
    ctx, recorder = opened(repair.card, suspect, tmp_path)
    found = repair.repair(suspect.model, ctx)
    assert [row["epoch"] for row in recorder.rows] == [1, 2]
    assert all(row["validation_accuracy_total"] == 20 and row["validation_asr_total"] == 13 for row in recorder.rows)
    assert all(row["training_loss"] > 0 for row in recorder.rows)
    assert differing(before, tensors(suspect.model)) == []
    assert differing(tensors(found), before)


def test_batch_norm_only_moves_statistics_only(tmp_path: Path) -> None:
    planted = Trained(model(), {}, [])
    repair = BatchNormOnly(batch_size=16)
    found = repair.repair(planted.model, context(repair.card, planted, tmp_path))
    changed = differing(tensors(planted.model), tensors(found))
    assert changed
    assert all("running_" in name or name.endswith("num_batches_tracked") for name in changed)


def test_only_the_preferred_epochs_are_kept(suspect: Trained, tmp_path: Path) -> None:
    ctx = context(FineTuning.card, suspect, tmp_path, keep=lambda rows: {rows[-1]["epoch"]})
    FineTuning(**SHORT).repair(suspect.model, ctx)
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        f"{weights_name(2)}.json",
        f"{weights_name(2)}.safetensors",
    ]


def test_a_collapse_ends_the_run(suspect: Trained, tmp_path: Path) -> None:
    ctx, recorder = opened(FineTuning.card, suspect, tmp_path, start_accuracy=1.0, collapse=1.0)
    with pytest.raises(Collapsed, match=r"validation accuracy 0\.\d+ after epoch 1, 1\.000 at the start"):
        FineTuning(**SHORT).repair(suspect.model, ctx)
    assert len(recorder.rows) == 1


class TwoFits(Repair):
    """Fine-tunes twice: epochs go on counting, and the second run has its own seed."""

    name: ClassVar[str] = "two-fits"
    card: ClassVar[Card] = card("clean_pairs")

    def repair(self, model: Any, ctx: GatedRepairContext) -> Any:
        training = Training(**SHORT)
        return ctx.fit(ctx.fit(model, ctx.clean_pairs, MMCL(), training), ctx.clean_pairs, MMCL(), training)


def test_epochs_of_a_second_fit_go_on(suspect: Trained, tmp_path: Path) -> None:
    ctx, recorder = opened(TwoFits.card, suspect, tmp_path)
    TwoFits().repair(suspect.model, ctx)
    assert [row["epoch"] for row in recorder.rows] == [1, 2, 3, 4]
    recorder.write(ctx.findings)
    assert [file.name for file in tmp_path.iterdir()] == ["epochs.parquet"]


def test_services(suspect: Trained, tmp_path: Path) -> None:
    ctx = context(card("class_names"), suspect, tmp_path)
    images = pairs().take([0, 1]).images.float() / 255
    logits = ctx.logits(suspect.model, images)
    assert logits.shape == (2, 3)
    cosine = logits.detach() / suspect.model.logit_scale().detach()
    assert float(cosine.abs().max()) <= 1.0001
    again = context(card("class_names"), suspect, tmp_path)
    assert torch.equal(torch.rand(3, generator=ctx.generator), torch.rand(3, generator=again.generator))


def test_what_is_no_model_or_pool_of_the_context_is_refused(suspect: Trained, tmp_path: Path) -> None:
    """Protocols let anything of their shape through; the engine saves and trains its own."""
    ctx: Any = context(card("clean_pairs"), suspect, tmp_path)
    with pytest.raises(TypeError, match="must give a model of its context, got Module"):
        ctx.fit(torch.nn.Module(), ctx.clean_pairs, MMCL(), Training())
    with pytest.raises(TypeError, match="must train on a pool of its context, got list"):
        ctx.fit(suspect.model, [], MMCL(), Training())
    with pytest.raises(TypeError, match="must give a model of its context, got NoneType"):
        ctx.report(1, None)
