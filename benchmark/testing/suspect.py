"""What detectors are judged on: a model with a BadNet backdoor from few poisoned pairs, its pairs, and test images."""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np
import torch

from benchmark.contexts.defense import GatedContext, MethodInputs, pair_features
from benchmark.data.pools import PoisonedPool, apply_trigger
from benchmark.evaluation.evaluate import Condition
from benchmark.models.clip import ClipModel
from benchmark.objectives.mmcl import MMCL
from benchmark.testing import world
from benchmark.training.loop import train
from benchmark.types import Detector, Training

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
    from benchmark.attacks.badnet import BadNet

    attack = BadNet(target="square", size=8, pattern="checkerboard", poison_rate=POISON_RATE)
    clean = world.pairs()
    found = world.poisoned(attack, clean)
    pool = PoisonedPool(clean, found.table, attack, found.trigger)
    model = train(world.clean_twin(), pool, MMCL(), TRAINING, seed=world.SEED + 1).model.eval()
    poisoned = np.zeros(pool.num_rows, dtype=bool)
    poisoned[found.table.rows] = True
    target = world.source().class_names.index(attack.target)
    trigger = Condition("trigger", target, lambda images, ids: apply_trigger(attack, found.trigger, images, ids))
    return Suspect(model, pool, poisoned, trigger)


def context(detector: Detector, model: ClipModel, *, seed: int = 1) -> GatedContext:
    """The engine's own context around a model that was trained on the suspect pairs."""
    resources = MethodInputs(
        model=model,
        clean_pairs=world.clean_pairs(),
        class_names=world.source().class_names,
        templates=world.source().evaluation_templates,
        optimizer_state=lambda: ({}, Training()),
        suspect_pairs=lambda: suspect().pairs,
        training_pairs=world.pairs,
        suspect_features=lambda: pair_features(model, suspect().pairs),
        trigger=None,
        auxiliary_model=lambda: world.clean_twin().eval().to(model.device),
    )
    return GatedContext(detector.own_card, resources, seed=seed)


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
