"""A short run of any method on a device, and the check that it keeps to one: on a pretended GPU, thus everywhere."""

from __future__ import annotations

from typing import TypeVar

import numpy as np

from benchmark.data.pools import apply_trigger
from benchmark.errors import NotApplicable
from benchmark.testing import attack as attacks
from benchmark.testing import detector as detectors
from benchmark.testing import repair as repairs
from benchmark.testing import world
from benchmark.testing.common import limited
from benchmark.testing.contract import Broken, Check, Checks
from benchmark.testing.devices import MixedDevices, PretendedGPU
from benchmark.testing.objective import shortened
from benchmark.testing.suspect import context, images, suspect
from benchmark.training.loop import train
from benchmark.types import (
    BaseAttack,
    Detector,
    Filter,
    InputDetector,
    Method,
    ModelAttack,
    ModelDetector,
    Objective,
    Repair,
    Training,
)

Computing = Objective | Repair | Detector | BaseAttack  # the kinds that compute on a device
M = TypeVar("M", bound=Method)
NUM_PAIRS = 64  # two batches
BRIEF = {"epochs": 1, "batch_size": 64, "num_pairs": NUM_PAIRS, "num_images": NUM_PAIRS, "patch_steps": 2}
BRIEF |= {"inversion_steps": 2, "max_steps": 2, "overfit_epochs": 1}


def device_checks(method: Computing) -> Checks:
    """That a method leaves nothing behind on another device."""
    yield Check("keeps to one device", lambda: _keeps(method))


def _keeps(method: Computing) -> str:
    with PretendedGPU() as gpu:
        try:
            run_on(method, "cuda")
        except MixedDevices as error:
            raise Broken(f"{error}; a method's own tensors belong on the device of the model or images given") from None
    return f"{gpu.operations:,} operations on a pretended GPU"


def run_on(method: Computing, device: str) -> None:
    """Runs a method on a handful of pairs, with the model on a device; nothing is measured.

    Args:
        method: an objective, repair, detector or attack.
        device: "cuda" inside a `PretendedGPU` or beside a real one, or "cpu".
    """
    if isinstance(method, Objective):
        _objective(method, device)
    elif isinstance(method, Repair):
        _repair(method, device)
    elif isinstance(method, Detector):
        _detector(method, device)
    else:
        _attack(method, device)


def _brief(method: M) -> M:
    """The method with its searches and trainings cut to a step or two."""
    return limited(method, BRIEF)


def _objective(objective: Objective, device: str) -> None:
    training = Training(epochs=6, batch_size=32, learning_rate=1e-3, warmup_steps=2)
    train(world.fresh_model().to(device), world.pairs(NUM_PAIRS), shortened(objective), training, seed=0)


def _repair(repair: Repair, device: str) -> None:
    short = _brief(repairs.shortened(repair))
    for name in repairs.ARCHITECTURES:
        try:
            model = world.backdoored(name).model.clone().to(device)
            repairs.run_repair(short, model=model)
        except NotApplicable:
            continue
        return
    raise NotApplicable(f"{repair.card.title} is for none of {', '.join(repairs.ARCHITECTURES)}")


def _detector(detector: Detector, device: str) -> None:
    short, model = _brief(detectors.shortened(detector)), suspect().model.clone().to(device)
    found = context(short, model)
    if isinstance(short, ModelDetector):
        short.inspect(model, found)
    elif isinstance(short, Filter):
        short.scores(model, found)
    elif isinstance(short, InputDetector):
        short.score(model, images()[:8].to(device), short.fit(model, found), found)


def _attack(attack: BaseAttack, device: str) -> None:
    """Learnt with a surrogate on the device; its trigger, as it comes from the store, on images there."""
    short = _brief(attacks.at_this_scale(attack))
    found = world.poisoned(short, world.pairs(attacks.POOL), surrogate=lambda: world.clean_twin().to(device))
    if type(short).trigger is not BaseAttack.trigger:
        apply_trigger(short, found.trigger, world.pairs(8).take(np.arange(8)).images.to(device), np.arange(8))
    if isinstance(short, ModelAttack):
        attacks.run_implant(short, world.clean_twin().to(device), num_pairs=NUM_PAIRS)
