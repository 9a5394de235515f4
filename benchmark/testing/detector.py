"""Contract of detectors: finite, deterministic scores, higher for what is attacked, with nothing beyond the card.

Pairs and images are scored under a model with a BadNet backdoor from few poisoned pairs: where there are many, they are
each other's neighbours and no density filter sees them. Models are the kit's backdoored model and its clean twin.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np
import torch

from benchmark.clip import ClipModel
from benchmark.context import Context, Resources, pair_features
from benchmark.evaluate import Condition
from benchmark.metrics.auroc import auroc
from benchmark.objectives.mmcl import MMCL
from benchmark.pool import PoisonedPool, apply_trigger
from benchmark.spec import validated
from benchmark.testing import world
from benchmark.testing.contract import Check, Checks, require, same_tensors
from benchmark.train import train
from benchmark.types import Detector, Filter, Finding, InputDetector, ModelDetector, State, Training

SHORT = {"epochs": 12, "num_overlays": 16, "batch_size": 32}  # fields of long searches
COUNT = 80  # images of each sort
POISON_RATE = 0.05
TRAINING = world.CLEAN_TRAINING.model_copy(update={"epochs": 10})
MIN_AUROC = 0.55


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


def context(detector: Detector, model: ClipModel, *, seed: int = 1) -> Context:
    """The engine's own context around a model that was trained on the suspect pairs."""
    resources = Resources(
        model=model,
        clean_pairs=world.clean_pairs(),
        class_names=world.source().class_names,
        templates=world.source().evaluation_templates,
        optimizer_state=lambda: ({}, Training()),
        suspect_pairs=lambda: suspect().pairs,
        training_pairs=world.pairs,
        suspect_features=lambda: pair_features(model, suspect().pairs),
        trigger=None,
    )
    return Context(detector.card, resources, seed=seed)


def detector_checks(detector: Detector) -> Checks:
    """The checks of one detector."""
    short = shortened(detector)
    if isinstance(short, Filter):
        runs = functools.cache(lambda: filter_scores(short))
        yield Check("scores every pair", lambda: _finite(runs(), suspect().pairs.num_rows))
        yield Check("deterministic under the seed", lambda: _same(runs(), filter_scores(short)))
        yield Check("ranks poisoned pairs above clean ones", lambda: _ranks(runs(), suspect().poisoned))
    elif isinstance(short, InputDetector):
        runs = functools.cache(lambda: input_scores(short))
        yield Check("scores every image", lambda: _finite(runs(), len(_images()[1])))
        yield Check("deterministic under the seed", lambda: _same(runs(), input_scores(short)))
        yield Check("treats samples apart", lambda: _apart(short))
        yield Check("inputs unmodified", lambda: _inputs_kept(short))
        yield Check("ranks triggered images above clean ones", lambda: _ranks(runs(), _images()[1]))
    elif isinstance(short, ModelDetector):
        findings = functools.cache(lambda: inspect(short, _backdoored()))
        yield Check("finds", lambda: _finding(findings()))
        yield Check("deterministic under the seed", lambda: _same_finding(findings(), inspect(short, _backdoored())))
        yield Check("ranks a backdoored model above its clean twin", lambda: _ranks_models(short, findings()))
    yield Check("model unmodified", lambda: _model_kept(short))
    yield Check("global generator untouched", lambda: _generator_kept(short))


def shortened(detector: Detector) -> Detector:
    """The detector with short searches, where it has such fields."""
    own = type(detector).model_fields
    fields = {name: min(value, getattr(detector, name)) for name, value in SHORT.items() if name in own}
    return validated(type(detector), dict(detector) | fields, place=detector.name)


def filter_scores(detector: Filter, model: ClipModel | None = None) -> torch.Tensor:
    """Scores of the suspect pairs."""
    model = model or suspect().model
    return detector.scores(model, context(detector, model))


def input_scores(detector: InputDetector, model: ClipModel | None = None) -> torch.Tensor:
    """Scores of clean images, then of triggered ones."""
    model = model or suspect().model
    ctx = context(detector, model)
    return detector.score(model, _images()[0].clone(), detector.fit(model, ctx), ctx)


def inspect(detector: ModelDetector, model: ClipModel) -> Finding:
    """The verdict on a model."""
    return detector.inspect(model, context(detector, model))


def _backdoored() -> ClipModel:
    return world.backdoored().model.clone().eval()


@functools.cache
def _images() -> tuple[torch.Tensor, np.ndarray]:
    """(B, 3, H, W) float32 test images, clean and then triggered ones that are not of the target; which are (B,)."""
    rows, trigger = world.held_out(), suspect().trigger
    others = np.flatnonzero(rows.labels != trigger.target)[-COUNT:]
    assert trigger.apply is not None
    triggered = trigger.apply(rows.images[others], rows.ids[others])
    shown = torch.cat([rows.images[:COUNT], triggered]).float() / 255
    return shown, np.arange(len(shown)) >= COUNT


def _finite(scores: torch.Tensor, count: int) -> str:
    require(tuple(scores.shape) == (count,), f"scores must be of shape ({count},), got {tuple(scores.shape)}")
    require(scores.dtype == torch.float32, f"scores must be float32, got {scores.dtype}")
    require(bool(scores.isfinite().all()), "scores must be finite")
    return f"from {float(scores.min()):.3g} to {float(scores.max()):.3g}"


def _same(first: torch.Tensor, second: torch.Tensor) -> str:
    require(torch.equal(first, second), "the same seed must give the same scores")
    return ""


def _ranks(scores: torch.Tensor, attacked: np.ndarray) -> str:
    values = scores.numpy()
    found = auroc(values[attacked], values[~attacked])
    require(found > MIN_AUROC, f"attacked must rank above clean, with an AUROC over {MIN_AUROC}, got {found:.2f}")
    return f"AUROC {found:.2f}"


def _apart(detector: InputDetector) -> str:
    """Alone, or in another order, an image scores what it scores among others."""
    model, images = suspect().model, _images()[0][COUNT - 4 : COUNT + 4]
    ctx = context(detector, model)
    state = detector.fit(model, ctx)
    parts = (images.clone(), images.flip(0), images[:1].clone())
    whole, turned, alone = (detector.score(model, part, state, ctx) for part in parts)
    close = torch.allclose(whole, turned.flip(0), atol=1e-4) and torch.allclose(whole[:1], alone, atol=1e-4)
    require(close, "a sample's score must not depend on the rest of the batch")
    return ""


def _inputs_kept(detector: InputDetector) -> str:
    model, images = suspect().model, _images()[0][:4].clone()
    ctx = context(detector, model)
    state = detector.fit(model, ctx)
    before: State = {name: value.clone() for name, value in state.items()}
    detector.score(model, images, state, ctx)
    require(torch.equal(images, _images()[0][:4]), "score() must not modify the images")
    require(same_tensors(before, state), "score() must not modify the state")
    return f"{len(state)} tensor(s) of state"


def _finding(found: Finding) -> str:
    require(np.isfinite(found.score), f"score must be finite, got {found.score}")
    require(bool(found.reason.strip()), "a finding must say its reason in words, also where nothing was found")
    classes = len(world.source().class_names)
    named = found.target is None or 0 <= found.target < classes
    require(named, f"target must be a class index below {classes}, got {found.target}")
    shapes = {"mask": (1, world.IMAGE_SIZE, world.IMAGE_SIZE), "pattern": (3, world.IMAGE_SIZE, world.IMAGE_SIZE)}
    for name, tensor in found.trigger.items():
        if name in shapes:
            require(tuple(tensor.shape) == shapes[name], f"{name} must be {shapes[name]}, got {tuple(tensor.shape)}")
            require(bool(((tensor >= 0) & (tensor <= 1)).all()), f"{name} must lie in [0, 1]")
    return found.reason


def _same_finding(first: Finding, second: Finding) -> str:
    same = first._replace(trigger={}) == second._replace(trigger={})
    require(same and same_tensors(first.trigger, second.trigger), "the same seed must give the same finding")
    return ""


def _ranks_models(detector: ModelDetector, found: Finding) -> str:
    twin = inspect(detector, world.clean_twin().eval())
    require(found.score > twin.score, f"score must be above the clean twin's, got {found.score:.4f}, {twin.score:.4f}")
    return f"{found.score:.4f}, {twin.score:.4f} for the clean twin"


def _model_kept(detector: Detector) -> str:
    """Its mode, too; the card was held to by the context all along."""
    model = _model_for(detector)
    before = {name: value.clone() for name, value in model.network.state_dict().items()}
    _run(detector, model)
    require(same_tensors(before, dict(model.network.state_dict())), "a detector must not modify the model")
    require(not model.training, "a detector must leave the model in evaluation mode")
    gradients = [name for name, value in model.network.named_parameters() if value.grad is not None]
    require(not gradients, f"a detector must leave no gradients behind, got {gradients[:3]}")
    return ""


def _generator_kept(detector: Detector) -> str:
    model, before = _model_for(detector), torch.get_rng_state()
    _run(detector, model)
    require(torch.equal(before, torch.get_rng_state()), "a detector must draw from ctx.generator, not the global one")
    return ""


def _model_for(detector: Detector) -> ClipModel:
    return _backdoored() if isinstance(detector, ModelDetector) else suspect().model.clone().eval()


def _run(detector: Detector, model: ClipModel) -> None:
    if isinstance(detector, Filter):
        filter_scores(detector, model)
    elif isinstance(detector, InputDetector):
        input_scores(detector, model)
    elif isinstance(detector, ModelDetector):
        inspect(detector, model)
