"""What tests of objectives share: features, a loss in plain loops, a planning context, the kit's world with poison."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch

from benchmark.attacks.badnet import BadNet
from benchmark.data.pools import CachedPool, PoisonedPool
from benchmark.evaluation.evaluate import Condition
from benchmark.testing import world
from benchmark.testing.objective import hand_features
from benchmark.training.loop import train
from benchmark.types import Augmentation, Features, Objective, Training

ALL = frozenset({"image", "text", "image_augmented", "text_augmented"})


def features() -> Features:
    """Features of the kit with every view."""
    return hand_features(ALL)


def by_hand(a: torch.Tensor, b: torch.Tensor, scale: float) -> float:
    """Mean over rows of a of -log of the share of the own partner, in plain loops."""
    total = 0.0
    for i in range(len(a)):
        logits = [scale * sum(x * y for x, y in zip(a[i].tolist(), b[j].tolist(), strict=True)) for j in range(len(b))]
        total += math.log(sum(math.exp(logit) for logit in logits)) - logits[i]
    return total / len(a)


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
    """A view that must be there."""
    value = getattr(features, name)
    assert value is not None
    return value


class Poisoned(NamedTuple):
    """A pool with BadNet poison, which of its rows are poisoned, and the trigger."""

    pool: PoisonedPool
    bad: np.ndarray  # (N,) bool
    trigger: Condition


def poisoned(rate: float, clean: CachedPool | None = None) -> Poisoned:
    """The kit's pairs, or others, with BadNet poison."""
    attack = BadNet(target="square", size=5, pattern="checkerboard", poison_rate=rate)
    clean = clean or world.pairs()
    found = world.poisoned(attack, clean)
    pool = PoisonedPool(clean, found.table, attack, found.trigger)
    bad = np.isin(np.arange(pool.num_rows), found.table.rows)
    return Poisoned(pool, bad, world.condition_of(attack, found.trigger))


def effect_of(objective: Objective, given: Poisoned, training: Training) -> world.Effect:
    """Trains the kit's clean model on poisoned pairs under an objective."""
    model = world.clean_twin()
    train(model, given.pool, objective, training, seed=1)
    return world.effect(model, given.trigger)


GENTLE = Training(epochs=6, batch_size=64, learning_rate=1e-3, warmup_steps=10)
