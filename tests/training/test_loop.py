"""The training loop: resume, accumulation, rates, clamp, divergence, mistakes."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from benchmark.data.pools import CachedPool
from benchmark.errors import Diverged, UserError
from benchmark.models.batch_norm import group_norms
from benchmark.models.clip import MAX_LOG_SCALE, ClipModel
from benchmark.objectives.mmcl import MMCL
from benchmark.objectives.mmcl_ssl import MMCLSSL
from benchmark.training import checkpoint
from benchmark.training.loop import EpochEnd, LoopOptions, train
from benchmark.training.optimizer import learning_rate
from benchmark.training.step import backward, make_stepper
from benchmark.training.views import make_inputs
from benchmark.types import Features, Loss, Objective, Pass, Plan, PlanContext, State, Training
from tests.helpers.tiny import differing, distance, largest_gap, model, pairs, tensors

pytestmark = pytest.mark.unit
SHORT = Training(epochs=4, batch_size=16, learning_rate=2e-3, warmup_steps=3, norm_group=8)
MODELS = ("tiny-resnet", "tiny-vit")
FP32 = SHORT.model_copy(update={"precision": "fp32"})


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Where a test trains. On a GPU with kernels that repeat their bits, and without TF32's short mantissa."""
    if request.param == "cuda":
        if not torch.cuda.is_available():
            pytest.skip("no GPU here")
        monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
        torch.use_deterministic_algorithms(True, warn_only=True)
    yield request.param
    torch.use_deterministic_algorithms(False)


class Killed(Exception):
    """Stands for the death of a run."""


def die_after(epoch: int) -> Any:
    def on_epoch(end: EpochEnd, now: ClipModel) -> None:
        if end.epoch == epoch:
            raise Killed

    return on_epoch


class Remembering(MMCL):
    """MMCL with a state that moves every step, and two passes per epoch."""

    name: ClassVar[str] = "remembering"

    def initial_state(self, *, embed_dim: int, seed: int) -> State:
        return {"mean": torch.zeros(embed_dim)}

    def plan(self, epoch: int, state: State, ctx: PlanContext) -> Plan:
        half = np.arange(ctx.num_rows // 2)
        constant = Pass(self.loss, rows=half, learning_rate=1e-4, trainable=lambda name: "visual" in name)
        return Plan((Pass(self.loss), constant), state)

    def loss(self, features: Features, state: State) -> Loss:
        assert features.image is not None
        base = super().loss(features, state)
        drift = (features.image.mean(0) - state["mean"]).square().sum()
        return Loss(base.total + drift, base.terms, {"mean": 0.9 * state["mean"] + 0.1 * features.image.mean(0)})


@pytest.mark.parametrize("objective", [MMCL(), MMCLSSL(), Remembering()], ids=lambda item: item.name)
@pytest.mark.parametrize("name", MODELS)
def test_resume_gives_the_same_bits(name: str, objective: Objective, tmp_path: Path, device: str) -> None:
    whole = train(model(name).to(device), pairs(), objective, SHORT, seed=3)
    options = LoopOptions(checkpoint_folder=tmp_path, on_epoch=die_after(2))
    with pytest.raises(Killed):
        train(model(name).to(device), pairs(), objective, SHORT, seed=3, options=options)
    # a model of other weights continues, so that nothing but the checkpoint can bring the result
    other = model(name, seed=9).to(device)
    resumed = train(other, pairs(), objective, SHORT, seed=3, options=LoopOptions(checkpoint_folder=tmp_path))
    assert differing(tensors(whole.model), tensors(resumed.model)) == []
    assert differing(whole.optimizer, resumed.optimizer) == []
    assert whole.history == resumed.history
    assert [row["epoch"] for row in whole.history] == [1, 2, 3, 4]


def test_checkpoints_come_every_few_epochs_and_at_the_end(tmp_path: Path) -> None:
    options = LoopOptions(checkpoint_folder=tmp_path, checkpoint_epochs=3, on_epoch=die_after(2))
    with pytest.raises(Killed):
        train(model(), pairs(), MMCL(), SHORT, seed=3, options=options)
    assert checkpoint.load(tmp_path) is None
    train(model(), pairs(), MMCL(), SHORT, seed=3, options=LoopOptions(checkpoint_folder=tmp_path, checkpoint_epochs=3))
    found = checkpoint.load(tmp_path)
    assert found is not None
    assert (found.epoch, found.step) == (4, 12)
    assert [file.name for file in tmp_path.iterdir()] == ["checkpoint.safetensors"]


@pytest.mark.parametrize("objective", [MMCL(), MMCLSSL()], ids=lambda item: item.name)
@pytest.mark.parametrize("name", MODELS)
def test_micro_batches_give_the_gradient_of_the_whole_batch(name: str, objective: Objective, device: str) -> None:
    (loss, gradients, state), (micro_loss, micro_gradients, micro_state) = (
        one_step(model(name).to(device), objective, micro=micro) for micro in (None, 8)
    )
    assert micro_loss == pytest.approx(loss, rel=1e-5)
    assert largest_gap(gradients, micro_gradients) < 1e-4 * max(float(g.abs().max()) for g in gradients.values())
    assert largest_gap(state, micro_state) < 1e-5  # the weights are untouched, the running statistics moved


@pytest.mark.parametrize("objective", [MMCL(), MMCLSSL()], ids=lambda item: item.name)
@pytest.mark.parametrize("name", MODELS)
def test_bf16_gives_the_gradient_of_fp32_to_its_tolerance(name: str, objective: Objective, device: str) -> None:
    (loss, gradients, _), (short_loss, short_gradients, _) = (
        one_step(model(name).to(device), objective, autocast=autocast) for autocast in (False, True)
    )
    assert short_loss != loss  # eight bits of mantissa were used
    assert short_loss == pytest.approx(loss, rel=0.02)
    whole, short = (
        torch.cat([found[key].flatten() for key in sorted(found)]) for found in (gradients, short_gradients)
    )
    assert float(torch.cosine_similarity(whole, short, dim=0)) > 0.97


def one_step(
    one: ClipModel, objective: Objective, *, micro: int | None = None, autocast: bool = False
) -> tuple[float, dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Loss and gradients of one batch, and the model's tensors after it."""
    stepper = make_stepper(one.train(), norm_group=8, micro_batch=micro, autocast=autocast)
    inputs = make_inputs(pairs().take(np.arange(32)), objective.views, one, seed=0, epoch=0, text_frozen=False)
    loss, _ = backward(stepper, inputs, Pass(objective.loss, objective.views), {})
    gradients = {key: value.grad.clone() for key, value in one.network.named_parameters() if value.grad is not None}
    return float(loss), gradients, tensors(one)


def test_micro_batches_train_the_same_model(device: str) -> None:
    whole = train(model().to(device), pairs(), MMCL(), FP32, seed=3)
    options = LoopOptions(micro_batch=8)
    parts = train(model().to(device), pairs(), MMCL(), FP32, seed=3, options=options)
    assert [row["loss"] for row in parts.history] == pytest.approx([row["loss"] for row in whole.history], rel=1e-3)
    # weight by weight Adam turns the rounding of a gradient near zero into a whole step, so the distance is bounded
    moved = distance(tensors(whole.model), tensors(model().to(device)))
    assert distance(tensors(whole.model), tensors(parts.model)) < 0.05 * moved


def test_prefetching_changes_nothing() -> None:
    plain = train(model("tiny-vit"), pairs(), MMCLSSL(), SHORT, seed=3)
    ahead = train(model("tiny-vit"), pairs(), MMCLSSL(), SHORT, seed=3, options=LoopOptions(prefetch=2))
    assert differing(tensors(plain.model), tensors(ahead.model)) == []


def test_loop_follows_the_schedule() -> None:
    training = SHORT.model_copy(update={"epochs": 2, "warmup_steps": 3})
    history = train(model("tiny-vit"), pairs(), MMCL(), training, seed=0).history
    expected = [learning_rate(training, step, steps_per_epoch=3) for step in (2, 5)]
    assert [row["learning_rate"] for row in history] == expected


def test_logit_scale_is_clamped() -> None:
    one = model("tiny-vit")
    with torch.no_grad():
        one.network.logit_scale.fill_(MAX_LOG_SCALE + 1)  # type: ignore[operator,union-attr]
    train(one, pairs(), MMCL(), SHORT.model_copy(update={"epochs": 1, "learning_rate": 1e-9}), seed=0)
    assert float(one.logit_scale().detach()) == pytest.approx(math.exp(MAX_LOG_SCALE), rel=1e-6)


def test_learning_rate_zero_moves_batch_norm_statistics_only() -> None:
    one = model()
    before = tensors(one)
    trained = train(one, pairs(), MMCL(), SHORT.model_copy(update={"learning_rate": 0.0, "epochs": 1}), seed=0)
    changed = differing(before, tensors(one))
    assert changed
    assert {name.rpartition(".")[2] for name in changed} == {"running_mean", "running_var", "num_batches_tracked"}
    assert len(changed) == 3 * len(group_norms(one.network))
    assert math.isnan(trained.history[0]["loss"])
    still = model("tiny-vit")
    before = tensors(still)
    train(still, pairs(), MMCL(), SHORT.model_copy(update={"learning_rate": 0.0, "epochs": 1}), seed=0)
    assert differing(before, tensors(still)) == []


def test_a_pass_trains_only_what_it_names() -> None:
    class TextOnly(MMCL):
        name: ClassVar[str] = "text-only"

        def plan(self, epoch: int, state: State, ctx: PlanContext) -> Plan:
            return Plan((Pass(self.loss, trainable=lambda name: "visual" not in name, learning_rate=1e-3),), state)

    one = model("tiny-vit")
    before = tensors(one)
    history = train(one, pairs(), TextOnly(), SHORT.model_copy(update={"epochs": 1}), seed=0).history
    changed = differing(before, tensors(one))
    assert changed
    assert not [name for name in changed if name.startswith("visual")]
    assert history[0]["learning_rate"] == 1e-3


def test_plans_may_ask_for_similarities() -> None:
    class Ranking(MMCL):
        name: ClassVar[str] = "ranking"

        def plan(self, epoch: int, state: State, ctx: PlanContext) -> Plan:
            found = ctx.similarities()
            assert found.shape == (ctx.num_rows,)
            assert found.abs().max() <= 1.0001
            return Plan((Pass(self.loss, rows=found.argsort()[-16:].numpy()),), state)

    ends: list[EpochEnd] = []
    options = LoopOptions(on_epoch=lambda end, _: ends.append(end))
    train(model(), pairs(), Ranking(), SHORT.model_copy(update={"epochs": 2}), seed=0, options=options)
    assert [end.images for end in ends] == [16, 16]


class Broken(MMCL):
    """Loses its mind after one step."""

    name: ClassVar[str] = "broken"

    def loss(self, features: Features, state: State) -> Loss:
        total = super().loss(features, state).total
        return Loss(total * float("nan"), {}, state)


def test_a_loss_that_is_not_a_number_raises(tmp_path: Path) -> None:
    with pytest.raises(Diverged, match="not finite in epoch 1; lower the learning rate"):
        train(model("tiny-vit"), pairs(), Broken(), SHORT, seed=0, options=LoopOptions(checkpoint_folder=tmp_path))
    assert checkpoint.load(tmp_path) is None  # a dead model is never saved


@pytest.mark.parametrize(
    ("changes", "micro", "message"),
    [
        ({"precision": "bf16"}, None, "training.precision must be auto or fp32 on a CPU, got 'bf16'"),
        ({"batch_size": 64}, None, "training.batch_size must be at most the 48 pairs there are, got 64"),
        ({"norm_group": None}, 8, "training.norm_group must be a divisor of the 8 samples that one forward holds"),
        ({"norm_group": 16}, 8, "got 16; set it"),
    ],
)
def test_what_cannot_run_is_refused_in_one_line(changes: dict[str, Any], micro: int | None, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        train(
            model(),
            pairs(),
            MMCL(),
            SHORT.model_copy(update=changes),
            seed=0,
            options=LoopOptions(micro_batch=micro),
        )
    assert "\n" not in str(caught.value)


def test_a_model_without_batch_norm_needs_no_norm_group() -> None:
    training = SHORT.model_copy(update={"norm_group": None, "epochs": 1})
    options = LoopOptions(micro_batch=6)  # does not even divide the batch
    history = train(model("tiny-vit"), pairs(), MMCL(), training, seed=0, options=options).history
    whole = train(model("tiny-vit"), pairs(), MMCL(), training, seed=0).history
    assert history[0]["loss"] == pytest.approx(whole[0]["loss"], rel=1e-4)


def test_order_of_rows_is_a_function_of_seed_and_epoch() -> None:
    seen: list[list[int]] = []

    class Watching(MMCL):
        name: ClassVar[str] = "watching"

        def loss(self, features: Features, state: State) -> Loss:
            seen.append(features.rows.tolist())
            return super().loss(features, state)

    pool: CachedPool = pairs()
    train(model("tiny-vit"), pool, Watching(), SHORT.model_copy(update={"epochs": 2}), seed=5)
    expected = [batch.rows.tolist() for epoch in (0, 1) for batch in pool.epoch(seed=5, epoch=epoch, batch_size=16)]
    assert seen == expected
    assert seen[:3] != seen[3:]


def test_steps_are_told_one_by_one_over_all_epochs_and_may_end_the_training() -> None:
    told: list[int] = []

    def on_step(step: int, now: ClipModel) -> None:
        told.append(step)
        if step == 7:
            raise Killed

    pool = pairs(48)
    with pytest.raises(Killed):
        train(model(), pool, MMCL(), SHORT, seed=0, options=LoopOptions(on_step=on_step))
    assert told == [1, 2, 3, 4, 5, 6, 7]  # three an epoch
    first, second = model(), model()
    train(first, pool, MMCL(), SHORT, seed=0, options=LoopOptions(on_step=lambda step, now: None))
    train(second, pool, MMCL(), SHORT, seed=0)
    assert differing(tensors(first), tensors(second)) == []
