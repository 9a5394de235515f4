"""A world small enough for contract checks: easy drawn shapes, a model trained on them, and one with a backdoor.

What is expensive is made once in a process. Everything is deterministic, on the CPU.
"""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from benchmark.config.spec import ModelSpec
from benchmark.contexts.poison import GatedPoisonContext
from benchmark.data.pools import CachedPool, PoisonedPool, apply_trigger
from benchmark.evaluation.evaluate import Condition, HeldOut, Validation, text_head, validate
from benchmark.models.clip import ClipModel, build
from benchmark.stages.work.poison import Poison, load_poison, poison
from benchmark.training.loop import train
from benchmark.types import Attack, BaseAttack, Objective, Training

if TYPE_CHECKING:
    from benchmark.types.source import Samples, Source

IMAGE_SIZE = 32
NUM_PAIRS, NUM_TEST, NUM_CLEAN = 1500, 300, 256
CLEAN_TRAINING = Training(epochs=8, batch_size=64, learning_rate=2e-3, warmup_steps=10)
POISON_TRAINING = CLEAN_TRAINING.model_copy(update={"epochs": 3})
POISON_RATE = 0.25  # so high that a learnable trigger is learnt within three epochs
SEED = 0


class Effect(NamedTuple):
    """Validation of one model under an attack's trigger."""

    accuracy: float
    asr: float


@functools.cache
def source() -> Source:
    """Four classes of shapes, without clutter or noise, with captions that name them."""
    from benchmark.datasets.shapes.dataset import Shapes

    exact = dict.fromkeys(("size_rate", "colour_rate", "place_rate", "vague_rate", "wrong_rate", "occlusion"), 0)
    easy = {"num_classes": 4, "clutter": 0, "rotation": 5, "noise": 0, "texture": 0.05}
    shapes = Shapes.model_validate({"num_rows": NUM_PAIRS + NUM_TEST + NUM_CLEAN} | easy | exact)
    return shapes.open(image_size=IMAGE_SIZE)


@functools.cache
def _samples() -> Samples:
    return source().read(np.arange(source().num_rows))


def pairs(count: int = NUM_PAIRS) -> CachedPool:
    """The first training pairs."""
    found = _samples()
    return CachedPool(found.images[:count], found.captions[:count], found.labels[:count])


def clean_pairs() -> CachedPool:
    """What a defender holds: pairs that no training of the kit has seen."""
    found, rows = _samples(), slice(NUM_PAIRS + NUM_TEST, None)
    return CachedPool(found.images[rows], found.captions[rows], found.labels[rows])


def held_out(count: int = NUM_TEST) -> HeldOut:
    """The first test rows."""
    found, rows = _samples(), slice(NUM_PAIRS, NUM_PAIRS + count)
    images = torch.from_numpy(found.images[rows]).permute(0, 3, 1, 2)
    return HeldOut(images, found.labels[rows], found.captions[rows], np.arange(count) + 1_000_000_000)


def fresh_model(name: str = "tiny-resnet") -> ClipModel:
    """An untrained model, always the same."""
    return build(ModelSpec(name=name), seed=SEED)


@functools.cache
def _clean_twin() -> ClipModel:
    model = fresh_model()
    train(model, pairs(), _mmcl(), CLEAN_TRAINING, seed=SEED)
    return model


def clean_twin() -> ClipModel:
    """A copy of a model that was trained on the clean pairs."""
    return _clean_twin().clone()


class Planted(NamedTuple):
    """A poisoned model, what its training left behind, and the trigger."""

    model: ClipModel
    optimizer: dict[str, torch.Tensor]
    training: Training
    trigger: Condition
    pairs: PoisonedPool


def poisoned(attack: BaseAttack, pool: CachedPool, *, surrogate: Callable[[], ClipModel] = clean_twin) -> Poison:
    """Poisons a pool of the kit's world; `surrogate` makes the attacker's model."""
    with tempfile.TemporaryDirectory(prefix="backstop-check-") as name:
        poison(attack, poison_context(pool, surrogate=surrogate), folder=Path(name), image_size=IMAGE_SIZE)
        return load_poison(Path(name))


def poison_context(
    pool: CachedPool, *, seed: int = SEED, surrogate: Callable[[], ClipModel] | None = clean_twin
) -> GatedPoisonContext:
    """What an attacker is handed in the kit's world."""
    return GatedPoisonContext(
        pool,
        class_names=source().class_names,
        caption_templates=source().caption_templates,
        evaluation_templates=source().evaluation_templates,
        seed=seed,
        make_surrogate=surrogate,
    )


def plant(attack: BaseAttack, start: ClipModel | None = None) -> Planted:
    """Trains a model (default: the clean twin) on, with the attack in a quarter of its pairs."""
    more = {"poison_rate": POISON_RATE} if isinstance(attack, Attack) else {}
    many = type(attack).model_validate(dict(attack) | more)
    pool = pairs()
    found = poisoned(many, pool)
    suspect = PoisonedPool(pool, found.table, many, found.trigger)
    trained = train(start or clean_twin(), suspect, _mmcl(), POISON_TRAINING, seed=SEED + 1)
    assert many.target_name is not None
    target = source().class_names.index(many.target_name)
    trigger = Condition("trigger", target, lambda images, ids: apply_trigger(many, found.trigger, images, ids))
    return Planted(trained.model, trained.optimizer, POISON_TRAINING, trigger, suspect)


@functools.cache
def backdoored(name: str = "tiny-resnet") -> Planted:
    """A model with a BadNet backdoor (a checkerboard of 5 pixels in the corner). Clone the model before changing it.

    Args:
        name: the architecture. Only the default saw clean training before, so another is not accurate.
    """
    from benchmark.attacks.badnet import BadNet

    start = None if name == "tiny-resnet" else fresh_model(name)
    return plant(BadNet(target="square", size=5, pattern="checkerboard"), start)


def effect(model: ClipModel, trigger: Condition) -> Effect:
    """Clean accuracy and attack success rate on the test rows."""
    found = measured(model, trigger)
    assert found.asr is not None
    return Effect(found.accuracy, found.asr)


def measured(model: ClipModel, trigger: Condition) -> Validation:
    """Zero-shot validation on the test rows."""
    names, templates = source().class_names, source().evaluation_templates
    return validate(model, held_out(), [trigger], class_names=names, templates=templates, batch_size=NUM_TEST)


@torch.no_grad()
def predictions(model: ClipModel) -> np.ndarray:
    """(NUM_TEST,) int64 classes that a model gives the test rows, zero-shot; its mode is left as found."""
    was_training = model.training
    head = text_head(model.eval(), source().class_names, source().evaluation_templates)
    found = (model.encode_images(held_out().images) @ head.weights.T).argmax(1).cpu().numpy()
    model.train(was_training)
    return found


def _mmcl() -> Objective:
    from benchmark.objectives.mmcl import MMCL

    return MMCL()
