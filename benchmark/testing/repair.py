"""Contract of repairs: a new model of the same shapes, the input untouched, nothing used beyond the card.

A repair that a convolutional model is not for is checked on a transformer. One that adds tensors must add them as
parts (`ClipModel.add_adapter`), so that a saved model can be built again.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import torch

from benchmark.contexts.defense import MethodInputs, pair_features
from benchmark.contexts.repair import GatedRepairContext, Report
from benchmark.errors import NotApplicable
from benchmark.evaluation.evaluate import Condition
from benchmark.models.clip import ClipModel, load_delta, save_delta
from benchmark.testing import world
from benchmark.testing.contract import Check, Checks, require, same_tensors
from benchmark.training.loop import LoopOptions
from benchmark.types import Range, Repair
from benchmark.validation import validated

# What fits the kit: short runs on few pairs, and a tower of two blocks, of which at most one is left alone ("depth").
SHORT = {"epochs": 2, "batch_size": 64, "warmup_steps": 2, "num_pairs": 400}
SHORT |= {"patch_steps": 5, "inversion_steps": 5, "depth": 1}


ARCHITECTURES = ("tiny-resnet", "tiny-vit")  # in the order in which they are tried


class Repaired(NamedTuple):
    """What a run of a repair left."""

    model: ClipModel
    planted: world.Planted  # what it repaired
    epochs: list[dict[str, Any]]
    clean_pairs_used: int


def repair_checks(repair: Repair) -> Checks:
    """The checks of one repair, on a model with a BadNet backdoor; long trainings are cut short."""
    short = shortened(repair)
    runs: list[Repaired] = []

    def first() -> Repaired:
        if not runs:
            runs.append(run_repair(short))
        return runs[0]

    yield Check("repairs with what its card names", lambda: _runs(first()))
    yield Check("returns a model of the same shapes", lambda: _shapes(first()))
    yield Check("is the same after saving", lambda: _saves(first()))
    yield Check("input model unmodified", lambda: _unmodified(short, first().planted))
    yield Check("deterministic under the seed", lambda: _deterministic(short, first()))
    yield Check("reports its epochs", lambda: _reports(first()))
    yield Check("strength", lambda: _strength(repair))
    yield Check("effect (for information)", lambda: _effect(repair, first().planted))


def shortened(repair: Repair) -> Repair:
    """The repair within the kit's bounds, where it has such fields."""
    own = type(repair).model_fields
    fields = {name: min(value, getattr(repair, name)) for name, value in SHORT.items() if name in own}
    return validated(type(repair), dict(repair) | fields, place=repair.name)


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
    resources = MethodInputs(
        model=suspect,
        clean_pairs=world.clean_pairs(),
        class_names=world.source().class_names,
        templates=world.source().evaluation_templates,
        optimizer_state=lambda: (planted.optimizer, planted.training),
        suspect_pairs=lambda: planted.pairs,
        training_pairs=world.pairs,
        suspect_features=lambda: pair_features(suspect, planted.pairs),
        trigger=planted.trigger,
        surrogate=lambda: world.clean_twin().eval(),
    )
    with tempfile.TemporaryDirectory(prefix="backstop-check-") as folder:
        report = Report(
            validation=world.held_out(),
            conditions=(Condition("clean", planted.trigger.target), planted.trigger),
            keep=lambda found: set(),
            start_accuracy=None,
            collapse=0.0,
            folder=Path(folder),
            base_key="backdoored",
            progress=lambda end: None,
        )
        context = GatedRepairContext(repair.card, resources, report, seed=seed, options=LoopOptions())
        repaired = repair.repair(suspect, context)
        if not context.rows:  # as in the defend stage: a repair that never trained is measured once
            context.report(1, repaired)
    return Repaired(repaired, planted, context.rows, context.clean_pairs_used)


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
    require(not different, f"tensors must keep names and shapes, but for declared parts; not so {different[:3]}")
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
    require(torch.equal(*pair), "a saved and loaded model must encode images as before; new parts need add_adapter")
    return ""


def _tensors(model: ClipModel) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.network.state_dict().items()}


def _unmodified(repair: Repair, planted: world.Planted) -> str:
    model = planted.model.clone()
    before = _tensors(model)
    found = run_repair(repair, model=model)
    require(found.model is not model, "repair() must return a copy, got the model that came in")
    require(same_tensors(before, _tensors(model)), "repair() must not modify the model that came in")
    return ""


def _deterministic(repair: Repair, first: Repaired) -> str:
    torch.rand(3)  # the global generator must not matter
    second = run_repair(repair)
    require(same_tensors(_tensors(first.model), _tensors(second.model)), "the same seed must give the same weights")
    return ""


def _reports(found: Repaired) -> str:
    epochs = [row["epoch"] for row in found.epochs]
    require(len(epochs) > 0 and epochs == sorted(set(epochs)), f"epochs must be reported in order, once, got {epochs}")
    require(epochs[0] >= 1, f"epochs are counted from 1, got {epochs[0]}")
    return f"{len(epochs)} epoch(s)"


def _strength(repair: Repair) -> str:
    name = type(repair).strength
    if name is None:
        return "declares none"
    field = type(repair).model_fields.get(name)
    require(field is not None, f"strength must name a field of the repair, got {name!r}")
    return name


def strongest(repair: Repair) -> Repair | None:
    """The repair at the upper end of its strength field's range, None without one."""
    name = type(repair).strength
    field = type(repair).model_fields.get(name or "")
    ranges = [item for item in field.metadata if isinstance(item, Range)] if field else []
    if name is None or not ranges:
        return None
    return validated(type(repair), dict(repair) | {name: ranges[0].high}, place=repair.name)


def _effect(repair: Repair, planted: world.Planted) -> str:
    """Never fails: whether a repair works is what the benchmark measures."""
    before = world.effect(planted.model, planted.trigger)
    parts = [f"before: CA {before.accuracy:.2f}, ASR {before.asr:.2f}"]
    for title, variant in (("as built", repair), ("strongest", strongest(repair))):
        if variant is not None:
            after = world.effect(run_repair(_four_epochs(variant)).model, planted.trigger)
            parts.append(f"{title}: CA {after.accuracy:.2f}, ASR {after.asr:.2f}")
    return "; ".join(parts)


def _four_epochs(repair: Repair) -> Repair:
    if "epochs" not in type(repair).model_fields:
        return shortened(repair)
    return validated(type(repair), dict(shortened(repair)) | {"epochs": 4}, place=repair.name)
