"""What detectors are judged on: a model with a BadNet backdoor from few poisoned pairs, its pairs, and test images."""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np
import torch

from benchmark.attacks.badnet import BadNet
from benchmark.contexts.defense import GatedContext
from benchmark.data.pools import PoisonedPool
from benchmark.evaluation.evaluate import Condition
from benchmark.models.clip import ClipModel
from benchmark.testing import world
from benchmark.types import Detector

COUNT = 200  # test images of each sort
POISON_RATE = 0.05
TRAINING = world.CLEAN_TRAINING.model_copy(update={"epochs": 10})


class Suspect(NamedTuple):
    """A backdoored model, its poisoned pairs, which of them are poisoned, and the trigger."""

    model: ClipModel
    pairs: PoisonedPool
    poisoned: np.ndarray  # (N,) bool
    trigger: Condition


@functools.cache
def suspect() -> Suspect:
    """A BadNet backdoor from 75 of 1,500 pairs, made once. Clone the model before changing it."""
    attack = BadNet(target="square", size=8, pattern="checkerboard")
    planted = world.plant(attack, rate=POISON_RATE, training=TRAINING)
    poisoned = np.isin(np.arange(planted.pairs.num_rows), planted.rows)
    return Suspect(planted.model.eval(), planted.pairs, poisoned, planted.trigger)


def context(detector: Detector, model: ClipModel, *, seed: int = 1) -> GatedContext:
    """The engine's own context around a model that was trained on the suspect pairs."""
    return GatedContext(detector.own_card, world.method_inputs(model, suspect().pairs), seed=seed)


@functools.cache
def images() -> torch.Tensor:
    """(2 COUNT, 3, H, W) float32 test images, clean and then triggered ones that are not of the target."""
    rows, trigger = world.held_out(), suspect().trigger
    others = np.flatnonzero(rows.labels != trigger.target)[-COUNT:]
    assert trigger.apply is not None
    shown = trigger.apply(rows.images[others], rows.ids[others])
    return torch.cat([rows.images[:COUNT], shown]).float() / 255


def triggered() -> np.ndarray:
    """(2 COUNT,) bool, which of the kit's images are triggered."""
    return np.arange(2 * COUNT) >= COUNT
