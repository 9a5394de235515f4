"""Contract of repairs: a new model of the same shapes, the input untouched, nothing used beyond the card.

A repair that a convolutional model is not for is checked on a transformer. One that adds tensors must add them as
adapters (`ClipModel.add_adapter`), so that a saved model can be built again.
"""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import torch

from benchmark.contexts.recorder import EpochRecorder
from benchmark.contexts.repair import GatedRepairContext
from benchmark.errors import NotApplicable
from benchmark.evaluation.evaluate import Condition
from benchmark.models.clip import ClipModel, as_clip, load_delta, save_delta
from benchmark.testing import world
from benchmark.testing.blindness import differences
from benchmark.testing.common import limited
from benchmark.testing.contract import Check, Checks, require, same_tensors
from benchmark.types import Card, Range, Repair
from benchmark.validation import validated
from tuners.search_space import check_strength

# What fits the kit: short runs on few pairs, and a tower of two blocks, of which at most one is left alone ("depth").
SHORT = {"epochs": 2, "batch_size": 64, "warmup_steps": 2, "num_pairs": 400}
SHORT |= {"patch_steps": 5, "inversion_steps": 5, "max_steps": 20, "depth": 1}
CHANCE_FACTOR = 1.2  # times chance: below it nothing was learnt, or all of it lost
ARCHITECTURES = ("tiny-resnet", "tiny-vit")  # in the order in which they are tried


class Repaired(NamedTuple):
    """What a run of a repair left."""

    model: ClipModel
    suspect: ClipModel  # the very model that was handed in, as the run left it
    planted: world.Planted  # of whose model that was a copy
    epochs: list[dict[str, Any]]
    clean_pairs_used: int


def repair_checks(repair: Repair) -> Checks:
    """The checks of one repair, on a model with a BadNet backdoor; long trainings are cut short."""
    short = shortened(repair)
    first = functools.cache(lambda: run_repair(short))
    # the second run is measured under another trigger: where both agree, the method is deterministic and blind at once
    second = functools.cache(lambda: run_repair(short, planted=_elsewhere(first().planted)))

    yield Check("repairs with what its card names", lambda: _runs(first()))
    yield Check("returns a model of the same shapes", lambda: _shapes(first()))
    yield Check("is the same after saving", lambda: _saves(first()))
    yield Check("input model unmodified", lambda: _unmodified(first()))
    yield Check("deterministic under the seed", lambda: _deterministic(short, first(), second()))
    yield Check("sees nothing of the trigger", lambda: _blind(repair, first(), second()))
    yield Check("tells classes apart", lambda: _tells_classes_apart(first()))
    yield Check("reports its epochs", lambda: _reports(first()))
    yield Check("strength", lambda: _strength(repair))
    yield Check("effect (for information)", lambda: _effect(short, first()))


def shortened(repair: Repair) -> Repair:
    """The repair within the kit's bounds, where it has such fields."""
    return limited(repair, SHORT)


def run_repair(
    repair: Repair, *, model: ClipModel | None = None, planted: world.Planted | None = None, seed: int = 1
) -> Repaired:
    """Runs a repair on a copy of the kit's backdoored model, in the engine's own context.

    Args:
        repair: the repair.
        model: another model to start from, of the kit's convolutional architecture or of its transformer.
        planted: another backdoor than the kit's.
        seed: root of the repair's randomness.

    Raises:
        NotApplicable: to none of the kit's architectures.
    """
    if planted or model:
        return _run(repair, planted or world.backdoored(model.spec.name if model else ""), model, seed)
    for name in ARCHITECTURES[:-1]:
        try:
            return _run(repair, world.backdoored(name), None, seed)
        except NotApplicable:
            continue
    return _run(repair, world.backdoored(ARCHITECTURES[-1]), None, seed)


def _run(repair: Repair, planted: world.Planted, model: ClipModel | None, seed: int) -> Repaired:
    suspect = model or planted.model.clone()
    with tempfile.TemporaryDirectory(prefix="backstop-check-") as folder:
        context, recorder = open_context(repair.own_card, planted, suspect, Path(folder), seed=seed)
        repaired = as_clip(repair.repair(suspect, context))
        recorder.measure_result(repaired)  # as in the defend stage
    return Repaired(repaired, suspect, planted, recorder.rows, context.clean_pairs_used)


def open_context(
    card: Card, planted: world.Planted, suspect: ClipModel, folder: Path, *, seed: int = 1
) -> tuple[GatedRepairContext, EpochRecorder]:
    """The engine's own context in the kit's world, and what the engine keeps to itself."""
    inputs = world.method_inputs(suspect, planted.pairs, trigger=planted.trigger)
    inputs = inputs._replace(optimizer_state=lambda: (planted.optimizer, planted.training))
    return world.repair_context(card, inputs, folder, seed=seed)


def _runs(found: Repaired) -> str:
    return f"{found.clean_pairs_used} clean pairs used, on {found.planted.model.spec.name}"


def _shapes(found: Repaired) -> str:
    model = found.model
    require(isinstance(model, ClipModel), f"repair() must return a model, got {type(model).__name__}")
    base = found.planted.model.clone()
    for name, options in model.adapters.items():
        base.add_adapter(name, **options)
    wanted = {name: tuple(value.shape) for name, value in base.network.state_dict().items()}
    shapes = {name: tuple(value.shape) for name, value in model.network.state_dict().items()}
    different = sorted(name for name in wanted.keys() | shapes.keys() if wanted.get(name) != shapes.get(name))
    require(not different, f"tensors must keep names and shapes, but for adapters; not so {different[:3]}")
    bad = [name for name, value in model.network.state_dict().items() if not bool(value.isfinite().all())]
    require(not bad, f"weights must be finite, but not so {bad[:3]}")
    return f"{len(shapes)} tensors" + (f", with {', '.join(model.adapters)}" if model.adapters else "")


def _saves(found: Repaired) -> str:
    with tempfile.TemporaryDirectory(prefix="backstop-check-") as name:
        base, delta = Path(name) / "base", Path(name) / "delta"
        for folder in (base, delta):
            folder.mkdir()
        save_delta(found.planted.model, base, base={})
        save_delta(found.model, delta, base={"artifact": "base"}, of=found.planted.model)
        again = load_delta(delta, find=lambda key: base)
    images = world.held_out().images[:4]
    require(same_tensors(_tensors(found.model), _tensors(again)), "a saved and loaded model must have the same tensors")
    with torch.no_grad():
        pair = (found.model.clone().eval().encode_images(images), again.eval().encode_images(images))
    require(torch.equal(*pair), "a saved and loaded model must encode images as before; what is new needs add_adapter")
    return ""


def _tensors(model: ClipModel) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.network.state_dict().items()}


def _unmodified(found: Repaired) -> str:
    require(found.model is not found.suspect, "repair() must return a copy, got the model that came in")
    kept = same_tensors(_tensors(found.planted.model), _tensors(found.suspect))
    require(kept, "repair() must not modify the model that came in")
    return ""


def _deterministic(repair: Repair, first: Repaired, second: Repaired) -> str:
    torch.rand(3)  # the global generator must not matter
    again = second if _same(first, second) else run_repair(repair, planted=first.planted)
    require(_same(first, again), "the same seed must give the same weights")
    return ""


def _same(first: Repaired, second: Repaired) -> bool:
    return same_tensors(_tensors(first.model), _tensors(second.model))


def _elsewhere(planted: world.Planted) -> world.Planted:
    """The same suspect model, measured under a trigger that does nothing and aims at another class."""
    target = (planted.trigger.target or 0) + 1
    nothing = Condition("trigger", target % len(world.source().class_names), lambda images, ids: images)
    return planted._replace(trigger=nothing)


def _blind(repair: Repair, first: Repaired, second: Repaired) -> str:
    """Attack success is measured for the board; a method that reads it on its way is tuned on the answer."""
    if "trigger" in repair.needs:
        return "declared oracle: its card names the trigger"
    shown = trigger_shows(repair.own_card, first.planted)
    require(not shown, f"the context must show nothing of the trigger, but it differs at {', '.join(shown[:3])}")
    text = "weights must not depend on the trigger that epochs are measured under; do not look at attack success"
    require(_same(first, second), f"{text}, or make the repair deterministic")
    return "the same weights whatever trigger is measured"


def trigger_shows(card: Card, planted: world.Planted) -> list[str]:
    """Public places of a repair's context at which two worlds differ that differ in the measured trigger alone."""
    suspect = planted.model.clone()
    with tempfile.TemporaryDirectory(prefix="backstop-check-") as name:
        worlds = (planted, _elsewhere(planted))
        contexts = [open_context(card, each, suspect, Path(name))[0] for each in worlds]
        told = [context.report(1, suspect) for context in contexts]
        return [*differences(*contexts), *differences(*told, place="ctx.report()")]


def _tells_classes_apart(found: Repaired) -> str:
    """A model that always gives one answer has no backdoor and no use."""
    models, classes = (found.planted.model, found.model), len(world.source().class_names)
    before, after = (world.predictions(model, world.held_out().images) for model in models)
    accuracies = [float((answers == world.held_out().labels).mean()) for answers in (before, after)]
    numbers = f"CA {accuracies[1]:.2f}, {accuracies[0]:.2f} before, {len(set(after))} of {classes} classes predicted"
    limit = CHANCE_FACTOR / classes
    if accuracies[0] < limit:  # the kit's transformer has learnt next to nothing, so that nothing can be lost
        return numbers
    require(len(set(after)) > 1, f"a repaired model must not predict one class for every image, got {numbers}")
    require(accuracies[1] >= limit, f"a repaired model must be more accurate than chance, got {numbers}")
    return numbers


def _reports(found: Repaired) -> str:
    epochs = [row["epoch"] for row in found.epochs]
    require(len(epochs) > 0 and epochs == sorted(set(epochs)), f"epochs must be reported in order, once, got {epochs}")
    require(epochs[0] >= 1, f"epochs are counted from 1, got {epochs[0]}")
    return f"{len(epochs)} epoch(s)"


def _strength(repair: Repair) -> str:
    check_strength(repair)  # as before a run
    return type(repair).strength or "declares none"


def strongest(repair: Repair) -> Repair | None:
    """The repair at the upper end of its strength field's range, None without one."""
    name = type(repair).strength
    field = type(repair).model_fields.get(name or "")
    ranges = [item for item in field.metadata if isinstance(item, Range)] if field else []
    if name is None or not ranges:
        return None
    return validated(type(repair), dict(repair) | {name: ranges[0].high}, place=repair.name)


def _effect(short: Repair, first: Repaired) -> str:
    """Of runs as short as the others; never fails: whether a repair works is what the benchmark measures."""
    planted, strong = first.planted, strongest(short)
    models = [("before", planted.model), ("as built", first.model)]
    if strong is not None:
        models.append(("strongest", run_repair(shortened(strong)).model))
    effects = [(title, world.effect(model, planted.trigger)) for title, model in models]
    return "; ".join(f"{title}: CA {found.accuracy:.2f}, ASR {found.asr:.2f}" for title, found in effects)
