"""SafeCLIP, RoCLIP, ABL and SigLIP: losses and schedules by hand, splits, banks, and what they do to a backdoor."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from itertools import chain
from typing import Any, ClassVar, NamedTuple

import numpy as np
import pytest
import torch
from torch.nn import functional

from benchmark.attacks.badnet import BadNet
from benchmark.data.pools import CachedPool, PoisonedPool, apply_trigger
from benchmark.errors import NotApplicable
from benchmark.evaluation.evaluate import Condition
from benchmark.objectives._memory_bank import nearest, new_bank, pushed
from benchmark.objectives.abl import ABL, pair_losses
from benchmark.objectives.mmcl import MMCL, contrastive
from benchmark.objectives.roclip import RoCLIP
from benchmark.objectives.safeclip import SafeCLIP, safe_posteriors
from benchmark.objectives.siglip import SigLIP
from benchmark.objectives.ssl import SSL_VIEWS, picks
from benchmark.testing import world
from benchmark.testing.check import check_method
from benchmark.testing.objective import EMBED_DIM, GLOBAL_BATCH, hand_features
from benchmark.training.loop import train
from benchmark.types import Augmentation, Card, Features, Loss, Objective, Pass, Plan, PlanContext, State, Training

pytestmark = pytest.mark.unit
PAIRS = frozenset({"image", "text"})
TRAINING = Training(epochs=12, batch_size=10, learning_rate=0.5, warmup_steps=7)
SAFE_FIRST, NUM_ROWS = 60, 200


class Context(NamedTuple):
    """A pool of 200 pairs with given scores; remembers nothing."""

    scores: np.ndarray = np.zeros(NUM_ROWS)
    training: Training = TRAINING
    seed: int = 3
    augmented: tuple[Augmentation, ...] = ("none", "simclr")

    @property
    def num_rows(self) -> int:
        return len(self.scores)

    def similarities(self, augmentation: Augmentation = "none") -> torch.Tensor:
        assert augmentation in self.augmented
        return torch.from_numpy(self.scores).float()


def clusters(seed: int = 0) -> np.ndarray:
    """60 scores around 0.6 and 140 around 0.1, shuffled."""
    rng = np.random.default_rng(seed)
    upper, lower = rng.normal(0.6, 0.03, SAFE_FIRST), rng.normal(0.1, 0.05, NUM_ROWS - SAFE_FIRST)
    return rng.permutation(np.concatenate((upper, lower)))


def view(features: Features, name: str) -> torch.Tensor:
    value = getattr(features, name)
    assert value is not None
    return value


# --- the bank --------------------------------------------------------------------------------------------------


def test_bank_is_first_in_first_out() -> None:
    slow = deque(new_bank(10, 3, seed=1), maxlen=10)
    bank = torch.stack(list(slow))
    for size in (4, 4, 4, 1, 10, 13):
        batch = torch.rand(size, 3, requires_grad=True)
        bank = pushed(bank, batch)
        slow.extend(batch.detach())
        assert torch.equal(bank, torch.stack(list(slow)))
        assert not bank.requires_grad


def test_nearest_neighbour_by_loops() -> None:
    bank = new_bank(30, 5, seed=2)
    queries = functional.normalize(torch.randn(8, 5, generator=torch.Generator().manual_seed(0)), dim=1)
    found = nearest(queries.requires_grad_(), bank)
    for query, neighbour in zip(queries.tolist(), found, strict=True):
        cosines = [sum(a * b for a, b in zip(query, entry, strict=True)) for entry in bank.tolist()]
        assert torch.equal(neighbour, bank[cosines.index(max(cosines))])
    assert not found.requires_grad
    assert torch.allclose(bank.norm(dim=1), torch.ones(30))


# --- RoCLIP ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("every", "expected"), [(1, "111111"), (2, "010101"), (3, "001001")])
def test_roclip_matches_in_every_kth_epoch_counted_from_1(every: int, expected: str) -> None:
    objective = RoCLIP(bank_size=8, every=every)
    state = objective.initial_state(embed_dim=4, seed=0)
    found = ""
    for epoch in range(6):
        (one_pass,), _ = objective.plan(epoch, state, Context())
        assert one_pass.augmentations == {"image": "simclr", "text": "eda"}
        assert one_pass.views == PAIRS
        found += "1" if one_pass.loss == objective.matched else "0"
    assert found == expected


def test_roclip_asks_the_bank_before_the_batch_is_in_it() -> None:
    found, objective = hand_features(PAIRS), RoCLIP(bank_size=40)
    state = objective.initial_state(embed_dim=EMBED_DIM, seed=0)
    image, text = view(found, "image"), view(found, "text")
    loss = objective.matched(found, state)
    captions = torch.stack([state["captions"][(state["captions"] @ row).argmax()] for row in image.detach()])
    assert torch.allclose(loss.total, contrastive(captions, image, found.logit_scale), atol=1e-6)
    assert torch.equal(loss.state["captions"], torch.cat((state["captions"][GLOBAL_BATCH:], text.detach())))
    loss.total.backward()
    assert text.grad is None  # the text tower learns nothing in such an epoch
    assert image.grad is not None
    second = objective.matched(hand_features(PAIRS), loss.state)  # now each image finds captions of the batch too
    assert float(second.total.detach()) != pytest.approx(float(loss.total.detach()))


def test_roclip_in_other_epochs_is_clip() -> None:
    found, objective = hand_features(PAIRS), RoCLIP(bank_size=8)
    (plain,), _ = objective.plan(0, objective.initial_state(embed_dim=EMBED_DIM, seed=0), Context())
    assert torch.equal(plain.loss(found, {}).total, MMCL().loss(found, {}).total)


# --- SafeCLIP --------------------------------------------------------------------------------------------------


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


# --- ABL -------------------------------------------------------------------------------------------------------


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


# --- SigLIP ----------------------------------------------------------------------------------------------------


def test_siglip_is_the_loss_of_open_clip_with_its_gradients() -> None:
    from open_clip.loss import SigLipLoss

    start = SigLIP().initial_parameters(embed_dim=EMBED_DIM, seed=0)
    assert float(start["log_temperature"]) == pytest.approx(math.log(10))
    assert float(start["logit_bias"]) == -10
    ours = hand_features(PAIRS, parameters=start)
    theirs = hand_features(PAIRS, parameters=start)
    total = SigLIP().loss(ours, {}).total
    own = theirs.parameters
    reference = SigLipLoss()(theirs.image, theirs.text, own["log_temperature"].exp(), own["logit_bias"])
    assert torch.allclose(total, reference, atol=1e-5)
    total.backward()
    reference.backward()
    for name in start:
        assert torch.allclose(ours.parameters[name].grad, own[name].grad, rtol=1e-4)  # type: ignore[arg-type]
    assert torch.allclose(view(ours, "image").grad, view(theirs, "image").grad, atol=1e-5)  # type: ignore[arg-type]
    assert ours.logit_scale.grad is None


def test_siglip_by_hand() -> None:
    found = hand_features(PAIRS, parameters=SigLIP(temperature=2.0, bias=-1.0).initial_parameters(embed_dim=16, seed=0))
    image, text = view(found, "image").tolist(), view(found, "text").tolist()
    total = 0.0
    for i, a in enumerate(image):
        for j, b in enumerate(text):
            logit = 2 * sum(x * y for x, y in zip(a, b, strict=True)) - 1
            total += math.log(1 + math.exp(-logit if i == j else logit))
    assert SigLIP().loss(found, {}).total.item() == pytest.approx(total / GLOBAL_BATCH, rel=1e-5)


# --- direction: a planted backdoor, on the kit's world ----------------------------------------------------------


class Poisoned(NamedTuple):
    """A pool with BadNet poison, which of its rows are poisoned, and the trigger."""

    pool: PoisonedPool
    bad: np.ndarray  # (N,) bool
    trigger: Condition


def poisoned(rate: float, clean: CachedPool | None = None) -> Poisoned:
    attack = BadNet(target="square", size=5, pattern="checkerboard", poison_rate=rate)
    clean = clean or world.pairs()
    found = world.poisoned(attack, clean)
    target = world.source().class_names.index("square")
    trigger = Condition("trigger", target, lambda images, ids: apply_trigger(attack, found.trigger, images, ids))
    pool = PoisonedPool(clean, found.table, attack, found.trigger)
    return Poisoned(pool, np.isin(np.arange(pool.num_rows), found.table.rows), trigger)


def effect_of(objective: Objective, given: Poisoned, training: Training) -> world.Effect:
    """Trains the kit's clean model on poisoned pairs under an objective."""
    model = world.clean_twin()
    train(model, given.pool, objective, training, seed=1)
    return world.effect(model, given.trigger)


GENTLE = Training(epochs=6, batch_size=64, learning_rate=1e-3, warmup_steps=10)


def test_roclip_holds_a_backdoor_off_that_clip_learns() -> None:
    given = poisoned(0.05)
    clip = effect_of(MMCL(), given, GENTLE)
    roclip = effect_of(RoCLIP(bank_size=512, every=3, augment=False), given, GENTLE)
    assert roclip.asr < clip.asr - 0.15
    assert roclip.accuracy > clip.accuracy - 0.08


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

    short = {"isolation_epochs": 4, "isolation_rate": 0.05, "unlearning_epochs": 2, "unlearning_rate_share": 0.1}
    training = GENTLE.model_copy(update={"epochs": 7})
    found = effect_of(Recorded.model_validate({**short, "score": "cosine"}), given, training)
    assert shares[0] > 0.5
    assert found.asr < 0.05
    assert found.accuracy > 0.85


@pytest.mark.parametrize("variant", ["as_released", "as_intended"])
def test_abl_unlearns_what_it_isolated(variant: str) -> None:
    """The right pairs isolated, so that the ascent alone is tried, on a model with a backdoor."""
    planted = world.backdoored()
    bad = np.isin(np.arange(planted.pairs.num_rows), planted.pairs._poison.rows)

    class Told(ABL):
        """Isolates what it is told."""

        def _lowest(self, state: State, ctx: PlanContext) -> torch.Tensor:
            return torch.from_numpy(bad)

    short = {"isolation_epochs": 1, "unlearning_epochs": 1, "unlearning_rate_share": 0.1, "variant": variant}
    model = planted.model.clone()
    training = Training(epochs=3, batch_size=64, learning_rate=1e-3, warmup_steps=5)
    before = world.effect(model, planted.trigger)
    train(model, planted.pairs, Told.model_validate(short), training, seed=1)
    after = world.effect(model, planted.trigger)
    assert before.asr > 0.9
    assert after.asr < 0.2
    assert after.accuracy > before.accuracy - 0.3


# --- what the kit says of objectives that break their contract -------------------------------------------------


class Broken(Objective):
    """Breaks what a subclass overrides."""

    name: ClassVar[str] = "broken"
    card: ClassVar[Card] = Card(title="Broken", citation="none", access="training", summary="For this test.")

    def loss(self, features: Features, state: State) -> Loss:
        total = picks(view(features, "image"), view(features, "text"), features.logit_scale)
        return Loss(total, {}, state)


class ChangesState(Broken):
    """Writes into the state that it was given."""

    def initial_state(self, *, embed_dim: int, seed: int) -> State:
        return {"count": torch.zeros(())}

    def plan(self, epoch: int, state: State, ctx: PlanContext) -> Plan:
        state["count"] += 1
        return Plan((Pass(self.loss),), state)


class RowTwice(Broken):
    """Names a row twice, from the third epoch on."""

    def plan(self, epoch: int, state: State, ctx: PlanContext) -> Plan:
        rows = np.arange(ctx.num_rows) // (2 if epoch > 2 else 1)
        return Plan((Pass(self.loss, rows=rows),), state)


class NegativeRate(Broken):
    """A rate that falls below zero within the pass."""

    def plan(self, epoch: int, state: State, ctx: PlanContext) -> Plan:
        return Plan((Pass(self.loss, learning_rate=lambda share: 0.1 - share),), state)


class EdaOnImages(Broken):
    """Asks for an augmentation of captions on images."""

    def plan(self, epoch: int, state: State, ctx: PlanContext) -> Plan:
        return Plan((Pass(self.loss, augmentations={"image": "eda"}),), state)


class IdleParameter(Broken):
    """Has a parameter that its loss leaves out."""

    def initial_parameters(self, *, embed_dim: int, seed: int) -> State:
        return {"unused": torch.zeros(())}


class LateConstant(Broken):
    """Has a loss without gradient in a later epoch."""

    def plan(self, epoch: int, state: State, ctx: PlanContext) -> Plan:
        return Plan((Pass(self.constant if epoch > 4 else self.loss),), state)

    def constant(self, features: Features, state: State) -> Loss:
        return Loss(features.logit_scale.detach(), {}, state)


@pytest.mark.parametrize(
    ("cls", "check", "text"),
    [
        (ChangesState, "plans passes", "plan() must return the new state"),
        (RowTwice, "plans passes", "must not name a row twice"),
        (NegativeRate, "schedules give rates", "must be a finite number, 0 or more"),
        (EdaOnImages, "plans passes", "image cannot be augmented by 'eda'"),
        (IdleParameter, "gradient reaches the towers", "every parameter of the objective's own must get a gradient"),
        (LateConstant, "gradient reaches the towers", "must depend on the features in epoch 6"),
    ],
    ids=lambda part: part.__name__ if isinstance(part, type) else "",
)
def test_kit_names_the_breach(cls: type[Objective], check: str, text: str) -> None:
    found: Mapping[str, str] = {item.name: item.detail for item in check_method(cls) if not item.ok}
    assert text in found[check]


@pytest.mark.parametrize(
    ("cls", "fields"),
    [
        (SafeCLIP, {}),
        (SafeCLIP, {"variant": "as_released"}),
        (RoCLIP, {"bank_size": 64}),
        (ABL, {"score": "cosine"}),
        (ABL, {"variant": "as_intended"}),
        (SigLIP, {}),
    ],
    ids=str,
)
def test_contract(cls: type[Objective], fields: dict[str, Any]) -> None:
    assert [item for item in check_method(cls, fields) if not item.ok] == []
