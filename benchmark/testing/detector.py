"""Contract of detectors: finite, deterministic scores, higher for what is attacked, with nothing beyond the card.

Each is judged where its idea can work. Images are scored under the suspect model. So are pairs, a few of them poisoned:
where there are many, they are each other's neighbours, and no density filter sees them. Or pairs are scored under the
clean twin, if that serves better: once a backdoor is learnt, its captions fit. Models: a backdoored one and that twin.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
import torch

from benchmark.contexts.defense import GatedContext
from benchmark.metrics.auroc import auroc
from benchmark.models.clip import ClipModel
from benchmark.testing import world
from benchmark.testing.common import limited
from benchmark.testing.contract import Check, Checks, require, same_tensors
from benchmark.testing.suspect import COUNT, context, images, suspect, triggered
from benchmark.types import Detector, Filter, Finding, InputDetector, ModelDetector, State

SHORT = {"epochs": 12, "num_overlays": 16, "batch_size": 32}  # fields of long searches
MIN_PAIR_AUROC = 0.8
MIN_INPUT_AUROC = 0.6  # three and a half standard errors above chance


T = TypeVar("T", torch.Tensor, Finding)


class Watched(NamedTuple, Generic[T]):
    """One more run of a detector, and what it left of what it was handed."""

    found: T
    before: dict[str, torch.Tensor]  # the model's tensors
    model: ClipModel
    generator_kept: bool  # the global one


def detector_checks(detector: Detector) -> Checks:
    """The checks of one detector; its second run on the same model is watched."""
    short = shortened(detector)
    if isinstance(short, ModelDetector):
        yield from _model_checks(short)
    elif isinstance(short, Filter | InputDetector):
        yield from _score_checks(short)


def _model_checks(detector: ModelDetector) -> Checks:
    first = functools.cache(lambda: inspect(detector, _backdoored()))
    again = functools.cache(lambda: _watched(_backdoored(), lambda model: inspect(detector, model)))
    yield Check("finds", lambda: _finding(first()))
    yield Check("deterministic under the seed", lambda: _same_finding(first(), again().found))
    yield Check("ranks a backdoored model above its clean twin", lambda: _ranks_models(detector, first()))
    yield from _kept_checks(again)


def _score_checks(detector: Filter | InputDetector) -> Checks:
    first = functools.cache(lambda: scores(detector))
    again = functools.cache(lambda: _watched(suspect().model.clone(), lambda model: scores(detector, model)))
    unit, count = ("pair", suspect().pairs.num_rows) if isinstance(detector, Filter) else ("image", 2 * COUNT)
    yield Check(f"scores every {unit}", lambda: _finite(first(), count))
    yield Check("deterministic under the seed", lambda: _same(first(), again().found))
    if isinstance(detector, Filter):
        yield Check("ranks poisoned pairs above clean ones", lambda: _ranks_pairs(detector, first()))
    else:
        yield Check("treats samples apart", lambda: _apart(detector))
        yield Check("inputs unmodified", lambda: _inputs_kept(detector))
        yield Check("ranks triggered images above clean ones", lambda: _ranks_images(first()))
    yield from _kept_checks(again)


def _kept_checks(run: Callable[[], Watched[Any]]) -> Checks:
    yield Check("model unmodified", lambda: _model_kept(run()))
    yield Check("global generator untouched", lambda: _generator_kept(run()))


def shortened(detector: Detector) -> Detector:
    """The detector with short searches, where it has such fields."""
    return limited(detector, SHORT)


def scores(detector: Filter | InputDetector, model: ClipModel | None = None) -> torch.Tensor:
    """Scores of the suspect pairs, or of the kit's images, under a model (default: the suspect one)."""
    model = model or suspect().model.clone()
    if isinstance(detector, Filter):
        ctx = context(detector, model)
        with torch.no_grad():  # as the stage calls it: authors need not detach
            return detector.scores(model, ctx)
    ctx, state = _fitted(detector, model)
    return _scored(detector, model, images().clone(), state, ctx)


def inspect(detector: ModelDetector, model: ClipModel) -> Finding:
    """The verdict on a model."""
    return detector.inspect(model, context(detector, model))


def _fitted(detector: InputDetector, model: ClipModel) -> tuple[GatedContext, State]:
    ctx = context(detector, model)
    with torch.no_grad():
        return ctx, detector.fit(model, ctx)


@torch.no_grad()
def _scored(
    detector: InputDetector, model: ClipModel, shown: torch.Tensor, state: State, ctx: GatedContext
) -> torch.Tensor:
    return detector.score(model, shown, state, ctx)


def _backdoored() -> ClipModel:
    return world.backdoored().model.clone().eval()


def _finite(found: torch.Tensor, count: int) -> str:
    require(tuple(found.shape) == (count,), f"scores must be of shape ({count},), got {tuple(found.shape)}")
    require(found.dtype == torch.float32, f"scores must be float32, got {found.dtype}")
    require(bool(found.isfinite().all()), "scores must be finite")
    return f"from {float(found.min()):.3g} to {float(found.max()):.3g}"


def _same(first: torch.Tensor, second: torch.Tensor) -> str:
    require(torch.equal(first, second), "the same seed must give the same scores")
    return ""


def _ranks_images(found: torch.Tensor) -> str:
    return _above(_area(found, triggered()), MIN_INPUT_AUROC)


def _ranks_pairs(detector: Filter, found: torch.Tensor) -> str:
    poisoned = suspect().poisoned
    outside = _area(scores(detector, world.clean_twin().eval()), poisoned)
    remark = _above(max(own := _area(found, poisoned), outside), MIN_PAIR_AUROC)
    return remark if own >= outside else f"{remark} under the clean twin, {own:.2f} under the model itself"


def _area(found: torch.Tensor, attacked: np.ndarray) -> float:
    values = found.numpy()
    return auroc(values[attacked], values[~attacked])


def _above(area: float, bound: float) -> str:
    require(area > bound, f"attacked must rank above clean, with an AUROC over {bound}, got {area:.2f}")
    return f"AUROC {area:.2f}"


def _apart(detector: InputDetector) -> str:
    """Alone, or in another order, an image scores what it scores among others."""
    model, some = suspect().model.clone(), images()[COUNT - 4 : COUNT + 4]
    ctx, state = _fitted(detector, model)
    parts = (some.clone(), some.flip(0), some[:1].clone())
    whole, turned, alone = (_scored(detector, model, part, state, ctx) for part in parts)
    close = torch.allclose(whole, turned.flip(0), atol=1e-4) and torch.allclose(whole[:1], alone, atol=1e-4)
    require(close, "a sample's score must not depend on the rest of the batch")
    return ""


def _inputs_kept(detector: InputDetector) -> str:
    model, some = suspect().model.clone(), images()[:4].clone()
    ctx, state = _fitted(detector, model)
    before = {name: value.clone() for name, value in state.items()}
    _scored(detector, model, some, state, ctx)
    require(torch.equal(some, images()[:4]), "score() must not modify the images")
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


def _watched(model: ClipModel, run: Callable[[ClipModel], T]) -> Watched[T]:
    before = {name: value.clone() for name, value in model.network.state_dict().items()}
    state = torch.get_rng_state()
    found = run(model)
    return Watched(found, before, model, torch.equal(state, torch.get_rng_state()))


def _model_kept(run: Watched[Any]) -> str:
    """Its mode, too; the card was held to by the context all along."""
    require(same_tensors(run.before, dict(run.model.network.state_dict())), "a detector must not modify the model")
    require(not run.model.training, "a detector must leave the model in evaluation mode")
    gradients = [name for name, value in run.model.network.named_parameters() if value.grad is not None]
    require(not gradients, f"a detector must leave no gradients behind, got {gradients[:3]}")
    return ""


def _generator_kept(run: Watched[Any]) -> str:
    require(run.generator_kept, "a detector must draw from ctx.generator, not the global one")
    return ""
