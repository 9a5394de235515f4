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

from benchmark.attacks.badnet import BadNet
from benchmark.config.spec import ModelSpec
from benchmark.contexts.defense import MethodInputs, pair_features
from benchmark.contexts.poison import GatedPoisonContext
from benchmark.contexts.recorder import EpochRecorder, Report
from benchmark.contexts.repair import GatedRepairContext
from benchmark.data.pools import CachedPool, PoisonedPool, apply_trigger
from benchmark.datasets.shapes.dataset import Shapes
from benchmark.evaluation.evaluate import Condition, HeldOut, Validation, text_head, validate
from benchmark.models.clip import ClipModel, build
from benchmark.models.mode import evaluation_mode
from benchmark.objectives.mmcl import MMCL
from benchmark.stages.work.poison import Poison, load_poison, poison
from benchmark.training.loop import LoopOptions, train
from benchmark.types import Attack, BaseAttack, Card, Pool, Training, TriggerState

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
    train(model, pairs(), MMCL(), CLEAN_TRAINING, seed=SEED)
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
    rows: np.ndarray  # (M,) int64 of the pairs that are poisoned


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


def method_inputs(model: ClipModel, suspect: Pool, *, trigger: Condition | None = None) -> MethodInputs:
    """What there is for methods in the kit's world, around a model that was trained on the suspect pairs."""
    return MethodInputs(
        model=model,
        clean_pairs=clean_pairs(),
        class_names=source().class_names,
        templates=source().evaluation_templates,
        optimizer_state=lambda: ({}, CLEAN_TRAINING),
        suspect_pairs=lambda: suspect,
        training_pairs=pairs,
        suspect_features=lambda: pair_features(model, suspect),
        trigger=trigger,
        auxiliary_model=lambda: clean_twin().eval().to(model.device),
    )


def repair_context(
    card: Card, inputs: MethodInputs, folder: Path, *, seed: int
) -> tuple[GatedRepairContext, EpochRecorder]:
    """The engine's own context, whose epochs are measured under the inputs' trigger; and what the engine keeps."""
    assert inputs.trigger is not None
    report = Report(
        validation=held_out(),
        conditions=(Condition("clean", inputs.trigger.target), inputs.trigger),
        folder=folder,
        base_key="",
        progress=lambda end: None,
    )
    recorder = EpochRecorder(report, inputs)
    return GatedRepairContext(card, inputs, recorder, seed=seed, options=LoopOptions()), recorder


def plant(
    attack: BaseAttack,
    start: ClipModel | None = None,
    *,
    rate: float = POISON_RATE,
    training: Training = POISON_TRAINING,
) -> Planted:
    """Trains a model (default: the clean twin) on, with the attack in a share of its pairs."""
    more = {"poison_rate": rate} if isinstance(attack, Attack) else {}
    many = type(attack).model_validate(dict(attack) | more)
    pool = pairs()
    found = poisoned(many, pool)
    suspect = PoisonedPool(pool, found.table, many, found.trigger)
    trained = train(start or clean_twin(), suspect, MMCL(), training, seed=SEED + 1)
    trigger = condition_of(many, found.trigger)
    return Planted(trained.model, trained.optimizer, training, trigger, suspect, found.table.rows)


def condition_of(attack: BaseAttack, state: TriggerState) -> Condition:
    """An attack's trigger, with its target in the kit's world."""
    assert attack.target_name is not None
    target = source().class_names.index(attack.target_name)
    return Condition("trigger", target, lambda images, ids: apply_trigger(attack, state, images, ids))


@functools.cache
def backdoored(name: str = "tiny-resnet") -> Planted:
    """A model with a BadNet backdoor (a checkerboard of 5 pixels in the corner). Clone the model before changing it.

    Args:
        name: the architecture. Only the default saw clean training before, so another is not accurate.
    """
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
def predictions(model: ClipModel, images: torch.Tensor) -> np.ndarray:
    """(N,) int64 classes that a model gives (N, 3, H, W) images, zero-shot; its mode is left as found."""
    with evaluation_mode(model):
        head = text_head(model, source().class_names, source().evaluation_templates)
        return (model.encode_images(images) @ head.weights.T).argmax(1).cpu().numpy()
