"""ABL: flooding, isolation and unlearning by hand, and what it does to a backdoor."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from benchmark.data.pools import CachedPool
from benchmark.errors import NotApplicable
from benchmark.objectives.abl import ABL, pair_losses
from benchmark.objectives.mmcl import MMCL
from benchmark.testing import world
from benchmark.testing.objective import GLOBAL_BATCH, hand_features
from benchmark.training.loop import train
from benchmark.types import Plan, PlanContext, State, Training
from tests.helpers.objectives import GENTLE, NUM_ROWS, PAIRS, TRAINING, Context, clusters, effect_of, poisoned

pytestmark = pytest.mark.unit
LONG = TRAINING.model_copy(update={"epochs": 30})


def after_isolation(objective: ABL, scores: np.ndarray) -> State:
    """The state at the start of the first epoch after isolation, with these losses."""
    _, state = objective.plan(0, {}, Context(training=LONG))
    state = state | {"scores": torch.from_numpy(scores).float()}
    return objective.plan(objective.isolation_epochs, state, Context(scores, LONG)).state


def test_flood_by_pair_and_by_batch() -> None:
    found = hand_features(PAIRS)
    _, state = ABL().plan(0, {}, Context(training=LONG))
    losses, level = pair_losses(found), 0.5 * math.log(GLOBAL_BATCH) / math.log(10)
    by_pair, by_batch = (ABL(gamma=4.0, variant=each) for each in ("as_intended", "as_released"))
    high = 4 * math.log(GLOBAL_BATCH) / math.log(10)
    assert losses.min() < high < losses.max()  # above some losses and below others
    assert torch.allclose(losses.mean(), MMCL().loss(found, {}).total, atol=1e-6)
    expected = sum(abs(loss - high) + high for loss in losses.tolist()) / GLOBAL_BATCH
    assert float(by_pair.flooded(found, state).total.detach()) == pytest.approx(expected, rel=1e-5)
    whole = float(by_batch.flooded(found, state).total.detach())
    assert whole == pytest.approx(abs(losses.mean().item() - high) + high, rel=1e-5)
    published = ABL(variant="as_intended").flooded(found, state).total
    assert torch.allclose(published, (losses - level).abs().mean() + level)


def test_flood_has_the_gradient_of_local_gradient_ascent() -> None:
    ours, theirs = hand_features(PAIRS), hand_features(PAIRS)
    _, state = ABL().plan(0, {}, Context(training=LONG))
    objective = ABL(gamma=4.0, variant="as_intended")
    level = 4 * math.log(GLOBAL_BATCH) / math.log(10)
    objective.flooded(ours, state).total.backward()
    losses = pair_losses(theirs)
    ((losses - level).sign().detach() * losses).mean().backward()
    for name in ("image", "text", "logit_scale"):
        assert torch.allclose(getattr(ours, name).grad, getattr(theirs, name).grad, atol=1e-7)


def test_losses_are_kept_by_row() -> None:
    found = hand_features(PAIRS, rows=torch.arange(GLOBAL_BATCH) * 3)
    _, state = ABL().plan(0, {}, Context(training=LONG))
    after = ABL().flooded(found, state).state["scores"]
    assert torch.equal(after[found.rows], pair_losses(found).detach())
    assert int(after.isinf().sum()) == NUM_ROWS - GLOBAL_BATCH
    assert bool(state["scores"].isinf().all())


@pytest.mark.parametrize("score", ["loss", "cosine"])
def test_isolates_the_lowest_losses_or_the_highest_cosines(score: Any) -> None:
    scores = clusters()
    isolated = after_isolation(ABL(isolation_rate=0.1, score=score), scores)["isolated"].numpy()
    order = np.argsort(scores if score == "loss" else -scores)
    assert set(np.flatnonzero(isolated).tolist()) == set(order[:20].tolist())


def test_paper_s_variant_descends_on_the_rest_and_ascends_on_the_isolated() -> None:
    objective = ABL(variant="as_intended", isolation_rate=0.05)
    state = after_isolation(objective, np.arange(NUM_ROWS) / NUM_ROWS)
    (one_pass,), _ = objective.plan(11, state, Context())
    assert one_pass.rows is None
    found = hand_features(PAIRS)
    losses = pair_losses(found)
    expected = losses[10:].mean() - losses[:10].mean()  # rows 0 to 9 have the lowest scores
    assert torch.allclose(one_pass.loss(found, state).total, expected, atol=1e-6)
    clean = hand_features(PAIRS, rows=torch.arange(100, 100 + GLOBAL_BATCH))
    assert torch.allclose(one_pass.loss(clean, state).total, pair_losses(clean).mean(), atol=1e-6)


def test_code_s_variant_trains_on_the_rest_then_ascends_on_the_isolated() -> None:
    objective = ABL(variant="as_released", isolation_epochs=4, unlearning_epochs=3, isolation_rate=0.05)
    state = after_isolation(objective, np.arange(NUM_ROWS) / NUM_ROWS)
    found = hand_features(PAIRS)
    for epoch in range(4, 12):
        (one_pass,), state = objective.plan(epoch, state, Context())
        assert one_pass.rows is not None
        if epoch < 9:
            assert set(one_pass.rows.tolist()) == set(range(10, NUM_ROWS))
            assert one_pass.learning_rate is None
            assert torch.allclose(one_pass.loss(found, state).total, pair_losses(found).mean())
        else:
            assert set(range(10)) <= set(one_pass.rows.tolist())
            assert len(set(one_pass.rows.tolist())) == 20  # as many others, so that there is something to contrast with
            assert one_pass.learning_rate == pytest.approx(0.5 / 200)
            assert torch.allclose(one_pass.loss(found, state).total, -pair_losses(found)[:10].mean())


def test_abl_needs_epochs_for_its_stages() -> None:
    for objective, needed in ((ABL(variant="as_intended", isolation_epochs=12), 12), (ABL(), 15)):
        with pytest.raises(NotApplicable, match=f"more than its {needed} epochs"):
            objective.plan(0, {}, Context())


def test_abl_isolates_poison_and_unlearns_it_where_captions_repeat() -> None:
    """Clean captions name the class alone, as the poison's do: with captions of their own, clean pairs are faster."""
    base = world.pairs()
    images = base.take(np.arange(base.num_rows)).images.permute(0, 2, 3, 1).numpy().copy()
    assert base.labels is not None
    captions = [f"a photo of a {world.source().class_names[label]}" for label in base.labels]
    given = poisoned(0.1, CachedPool(images, captions, base.labels))
    shares = []

    class Recorded(ABL):
        """Remembers how much poison was isolated."""

        def plan(self, epoch: int, state: State, ctx: PlanContext) -> Plan:
            plan = super().plan(epoch, state, ctx)
            if "isolated" in plan.state:
                shares.append(float(given.bad[plan.state["isolated"].numpy()].mean()))
            return plan

    short = {
        "isolation_epochs": 4,
        "isolation_rate": 0.05,
        "unlearning_epochs": 2,
        "unlearning_learning_rate_share": 0.1,
    }
    training = GENTLE.model_copy(update={"epochs": 7})
    found = effect_of(Recorded.model_validate({**short, "score": "cosine"}), given, training)
    assert shares[0] > 0.5
    assert found.asr < 0.05
    assert found.accuracy > 0.85


@pytest.mark.parametrize("variant", ["as_released", "as_intended"])
def test_abl_unlearns_what_it_isolated(variant: str) -> None:
    """The right pairs isolated, so that the ascent alone is tried, on a model with a backdoor."""
    planted = world.backdoored()
    bad = np.isin(np.arange(planted.pairs.num_rows), planted.rows)

    class Told(ABL):
        """Isolates what it is told."""

        def _lowest(self, state: State, ctx: PlanContext) -> torch.Tensor:
            return torch.from_numpy(bad)

    short = {"isolation_epochs": 1, "unlearning_epochs": 1, "unlearning_learning_rate_share": 0.1, "variant": variant}
    model = planted.model.clone()
    training = Training(epochs=3, batch_size=64, learning_rate=1e-3, warmup_steps=5)
    before = world.effect(model, planted.trigger)
    train(model, planted.pairs, Told.model_validate(short), training, seed=1)
    after = world.effect(model, planted.trigger)
    assert before.asr > 0.9
    assert after.asr < 0.2
    assert after.accuracy > before.accuracy - 0.3
