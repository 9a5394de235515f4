"""SafeCLIP: losses, stages, splits and rates by hand, and what it does to a backdoor."""

from __future__ import annotations

import math
from itertools import chain
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from benchmark.errors import NotApplicable
from benchmark.objectives.mmcl import MMCL
from benchmark.objectives.safeclip import SafeCLIP, safe_posteriors
from benchmark.objectives.ssl import SSL_VIEWS
from benchmark.testing.objective import EMBED_DIM, GLOBAL_BATCH, hand_features
from benchmark.types import Pass, Plan, PlanContext, State
from tests.helpers.objectives import (
    GENTLE,
    NUM_ROWS,
    SAFE_FIRST,
    TRAINING,
    Context,
    clusters,
    effect_of,
    poisoned,
    view,
)

pytestmark = pytest.mark.unit


def test_safeclip_losses_by_hand() -> None:
    """Unimodal: second views pick neighbours of the first. Cross-modal: first image, second caption, and back."""
    found, objective = hand_features(SSL_VIEWS), SafeCLIP(bank_size=50)
    state = objective.initial_state(embed_dim=EMBED_DIM, seed=0)
    loss = objective.unimodal(found, state)
    terms = []
    for side in ("image", "text"):
        first, second, bank = view(found, side), view(found, f"{side}_augmented"), state[f"{side}s"]
        logits = found.logit_scale * second @ bank[(first @ bank.T).argmax(1)].T
        terms.append(functional.cross_entropy(logits, torch.arange(GLOBAL_BATCH)))
        assert torch.equal(loss.state[f"{side}s"][-GLOBAL_BATCH:], first.detach())
    assert torch.allclose(loss.total, (terms[0] + terms[1]) / 2, atol=1e-6)
    loss.total.backward()
    assert view(found, "image").grad is None
    assert view(found, "image_augmented").grad is not None

    again = hand_features(SSL_VIEWS)
    terms = []
    for side, other in (("image", "text"), ("text", "image")):
        logits = again.logit_scale * view(again, side) @ view(again, f"{other}_augmented").T
        terms.append(functional.cross_entropy(logits, torch.arange(GLOBAL_BATCH)))
    assert torch.allclose(objective.crossmodal(again, state).total, (terms[0] + terms[1]) / 2, atol=1e-6)
    assert not torch.equal(state["images"], state["texts"])


def test_safeclip_stages() -> None:
    objective = SafeCLIP(unimodal_epochs=3, slow_epochs=2, slow_learning_rate=0.01, bank_size=8)
    state = objective.initial_state(embed_dim=4, seed=0)
    stages = []
    for epoch in range(TRAINING.epochs):
        passes, state = objective.plan(epoch, state, Context(clusters(epoch)))
        for one in passes:
            assert one.views == SSL_VIEWS
            policies = {"image": "simclr", "image_augmented": "simclr", "text": "eda", "text_augmented": "eda"}
            assert one.augmentations == policies
        stages.append([(one.loss.__name__, None if one.rows is None else len(one.rows)) for one in passes])
    assert stages[:3] == [[("unimodal", None)]] * 3
    assert stages[3:5] == [[("crossmodal", None)]] * 2
    assert stages[5] == [("unimodal", 140), ("crossmodal", 60)]
    assert stages[6] == [("unimodal", 138), ("crossmodal", 62)]
    assert stages[11] == [("unimodal", 128), ("crossmodal", 72)]
    (slow,), _ = objective.plan(4, state, Context())
    assert slow.learning_rate == 0.01


def test_safeclip_takes_the_best_pairs_and_every_pair_once() -> None:
    objective = SafeCLIP(unimodal_epochs=0, slow_epochs=0, bank_size=8)
    state, scores = objective.initial_state(embed_dim=4, seed=0), clusters()
    for epoch in range(3):
        (risky, safe), state = objective.plan(epoch, state, Context(scores))
        assert risky.rows is not None
        assert safe.rows is not None
        assert sorted(np.concatenate((risky.rows, safe.rows)).tolist()) == list(range(NUM_ROWS))
        assert scores[safe.rows].min() >= scores[risky.rows].max()
        assert len(safe.rows) == SAFE_FIRST + 2 * epoch
    assert int(state["first_safe"]) == SAFE_FIRST


def test_safe_share_stops_growing() -> None:
    objective = SafeCLIP(unimodal_epochs=0, slow_epochs=0, bank_size=8, growth_rate=0.2)
    state, found = objective.initial_state(embed_dim=4, seed=0), []
    for epoch in range(6):
        passes, state = objective.plan(epoch, state, Context(clusters()))
        found.append(len(passes[-1].rows))  # type: ignore[arg-type]
    assert found == [60, 100, 140, 170, 170, 170]


def test_pairs_that_do_not_fill_a_batch_make_no_pass() -> None:
    objective = SafeCLIP(unimodal_epochs=0, slow_epochs=0, bank_size=8, safe_posterior=1.0)
    few = np.concatenate((np.full(5, 0.9), np.linspace(0, 0.2, NUM_ROWS - 5)))
    passes, _ = objective.plan(0, objective.initial_state(embed_dim=4, seed=0), Context(few))
    assert [one.loss.__name__ for one in passes] == ["unimodal"]


def test_posterior_against_two_densities_by_hand() -> None:
    """The posterior of the component with the larger mean, by Bayes' rule from moments of the two clusters."""
    scores = clusters()
    found = safe_posteriors(scores)
    upper, lower = scores[scores > 0.4], scores[scores <= 0.4]

    def density(group: np.ndarray) -> np.ndarray:
        return len(group) * np.exp(-(((scores - group.mean()) / group.std()) ** 2) / 2) / group.std()

    expected = density(upper) / (density(upper) + density(lower))
    assert np.abs(found - expected).max() < 1e-3
    assert np.array_equal(found, safe_posteriors(scores))


def test_posterior_is_used_even_where_it_does_not_rise_with_the_cosine() -> None:
    """A narrow upper component leaves the very highest cosines to the wide lower one, as in the published code."""
    rng = np.random.default_rng(0)
    scores = np.concatenate((rng.normal(0.5, 0.01, 150), rng.normal(0.2, 0.3, 49), [1.0]))
    posteriors = safe_posteriors(scores)
    assert posteriors[-1] < 0.01
    objective = SafeCLIP(unimodal_epochs=0, slow_epochs=0, bank_size=8)
    (_, safe), _ = objective.plan(0, objective.initial_state(embed_dim=4, seed=0), Context(scores))
    assert safe.rows is not None
    assert 199 not in safe.rows
    assert set(safe.rows.tolist()) == set(np.flatnonzero(posteriors >= 0.9).tolist())


@pytest.mark.parametrize(("scoring", "other"), [("simclr", "none"), ("none", "simclr")])
def test_scoring_asks_for_its_augmentation(scoring: Any, other: Any) -> None:
    objective = SafeCLIP(unimodal_epochs=0, slow_epochs=0, bank_size=8, scoring=scoring)
    state = objective.initial_state(embed_dim=4, seed=0)
    assert len(objective.plan(0, state, Context(clusters(), augmented=(scoring,))).passes) == 2
    with pytest.raises(AssertionError):  # the context has nothing else to give
        objective.plan(0, state, Context(clusters(), augmented=(other,)))


def rate_at(one_pass: Pass, share: float) -> float:
    rate = one_pass.learning_rate
    assert rate is not None
    return rate(share) if callable(rate) else rate


def rates(objective: SafeCLIP, scores: np.ndarray) -> dict[str, list[list[float]]]:
    """The learning rate of every step, by loss and pass."""
    state = objective.initial_state(embed_dim=4, seed=0)
    found: dict[str, list[list[float]]] = {"unimodal": [], "crossmodal": []}
    for epoch in range(TRAINING.epochs):
        passes, state = objective.plan(epoch, state, Context(scores))
        for one in passes:
            steps = (NUM_ROWS if one.rows is None else len(one.rows)) // TRAINING.batch_size
            values = [rate_at(one, i / steps) for i in range(steps)]
            found[one.loss.__name__].append(values)
    return found


def curve(step: int, total: float, *, clamped: bool) -> float:
    """Peak 0.5, seven steps of warm-up."""
    if step < 7:
        return 0.5 * (step + 1) / 7
    done = (step - 7) / (total - 7)
    return 0.25 * (1 + math.cos(math.pi * (min(1, done) if clamped else done)))


def test_intended_rates_follow_three_counters() -> None:
    """The slow way: count the steps of each schedule while they happen."""
    found = rates(SafeCLIP(unimodal_epochs=3, bank_size=8), clusters())
    warmup = list(chain(*found["unimodal"][:3]))
    assert warmup == pytest.approx([curve(step, 80, clamped=True) for step in range(60)])
    assert found["crossmodal"][0] == [5e-6] * 20
    for name, start in (("unimodal", 3), ("crossmodal", 1)):
        flat = list(chain(*found[name][start:]))
        assert flat == pytest.approx([curve(step, len(flat), clamped=True) for step in range(len(flat))])
        assert flat[-1] < 0.01


def test_released_rates_follow_the_published_arithmetic() -> None:
    """Epochs from 1; one total for both schedules, from a share without its cap; nothing is clamped."""
    found = rates(SafeCLIP(variant="as_released", unimodal_epochs=3, bank_size=8), clusters())
    for i in range(3):
        expected = [curve(20 * (i + 1) + step, 80, clamped=False) for step in range(20)]
        assert found["unimodal"][i] == pytest.approx(expected)
    total = sum((SAFE_FIRST / NUM_ROWS + 0.01 * i) * 20 for i in range(8))
    each = int(total // 8)
    for i in range(8):
        epoch = 5 + i
        risky, safe = found["unimodal"][3 + i], found["crossmodal"][1 + i]
        assert safe == pytest.approx([curve(each * epoch + step, total, clamped=False) for step in range(len(safe))])
        expected = [curve(len(risky) * epoch + step, total, clamped=False) for step in range(len(risky))]
        assert risky == pytest.approx(expected)
    last = list(chain(*found["crossmodal"][-3:]))
    assert last[-1] > last[0]  # the cosine climbs again


def test_safeclip_needs_epochs_after_its_warm_ups() -> None:
    objective = SafeCLIP(bank_size=8)
    short = Context(training=TRAINING.model_copy(update={"epochs": 6}))
    with pytest.raises(NotApplicable, match="more than its 6 epochs of warm-up, got 6"):
        objective.plan(0, objective.initial_state(embed_dim=4, seed=0), short)


def test_safeclip_keeps_the_poison_out_of_the_safe_pairs() -> None:
    """Started from a model that knows the classes, as after a warm-up; its augmentations cost clean accuracy here."""
    given, training = poisoned(0.25), GENTLE.model_copy(update={"epochs": 3})
    shares = []

    class Recorded(SafeCLIP):
        """Remembers how much poison is among the safe pairs."""

        def plan(self, epoch: int, state: State, ctx: PlanContext) -> Plan:
            plan = super().plan(epoch, state, ctx)
            shares.append(float(given.bad[plan.passes[-1].rows].mean()))
            return plan

    clip = effect_of(MMCL(), given, training)
    safeclip = effect_of(Recorded(unimodal_epochs=0, slow_epochs=0, scoring="none"), given, training)
    assert given.bad.mean() == pytest.approx(0.25, abs=0.01)
    assert max(shares) < 0.15
    assert clip.asr > 0.5
    assert safeclip.asr < 0.1
    assert safeclip.accuracy > 0.5  # chance is 0.25
