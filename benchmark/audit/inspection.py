"""What an audit does to a model: its accuracy, the detectors' findings, what a found trigger does, a repair."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from benchmark.audit.data import Pairs
from benchmark.audit.weights import Suspect
from benchmark.contexts.defense import GatedContext, MethodInputs
from benchmark.contexts.recorder import Collapsed, EpochRecorder, Report
from benchmark.contexts.repair import GatedRepairContext
from benchmark.errors import Diverged, NotApplicable, UserError
from benchmark.evaluation import readouts, retrieval
from benchmark.evaluation.evaluate import Condition, encode
from benchmark.models.clip import ClipModel
from benchmark.models.mode import evaluation_mode
from benchmark.stages.work.weights import given_back
from benchmark.stats import Interval, wilson
from benchmark.store.keys import derive_seed
from benchmark.training.loop import EpochEnd, LoopOptions
from benchmark.types import Card, Finding, ModelDetector, Repair

ENCODED_AT_ONCE = 128
EXAMPLES = 5
# Without class names the head needs one row all the same; nothing is classified with it.
NAMELESS = ("image",)
NOT_HERE = "which an audit of a finished model does not have; run a suite instead"
REMEDIES: Mapping[str, str] = {
    "labels": "labels of the clean images; give a label column or a folder for each class",
    "class_names": "class names; give --classes a,b,c",
    "suspect_pairs": f"the pairs that the model was trained on, {NOT_HERE}",
    "training_pairs": f"the pairs before any poison, {NOT_HERE}",
    "trigger": f"the true trigger, {NOT_HERE}",
    "auxiliary_model": f"a clean model of the same family, {NOT_HERE}",
}


class Accuracy(NamedTuple):
    """How often the model is right on validation."""

    what: str
    hits: int
    total: int

    @property
    def rate(self) -> float:
        """Share of hits."""
        return self.hits / self.total

    @property
    def interval(self) -> Interval:
        """Wilson's, at 95 %."""
        return wilson(self.hits, self.total)


class Example(NamedTuple):
    """An image as it is and with the found trigger, and what the model takes both for."""

    image: np.ndarray  # (H, W, 3) uint8
    stamped: np.ndarray  # (H, W, 3) uint8
    names: tuple[str, str]  # "" without class names


class Effect(NamedTuple):
    """What a found trigger does to validation images that are not of the suspected class."""

    target: str
    total: int
    without: float  # share of them that are taken for the target as they are
    rate: float  # and with the trigger
    repaired: float | None = None  # and with the trigger, by the repaired model


class Inspected(NamedTuple):
    """A detector's run."""

    detector: ModelDetector
    finding: Finding | None  # None: it could not run
    reason: str
    seconds: float
    effect: Effect | None = None
    examples: tuple[Example, ...] = ()


class Repaired(NamedTuple):
    """A repair's run."""

    repair: Repair
    model: ClipModel | None  # None: it did not end well
    reason: str
    seconds: float
    accuracy: Accuracy | None
    epochs: list[dict[str, Any]]
    findings: dict[str, Any]


def resources(suspect: Suspect, pairs: Pairs) -> MethodInputs:
    """What there is; the rest says that it is not."""

    def nothing(what: str) -> Callable[[], Any]:
        def absent() -> Any:
            raise NotApplicable(f"an audit has no {what}")

        return absent

    return MethodInputs(
        model=suspect.model,
        clean_pairs=pairs.clean,
        class_names=pairs.class_names or NAMELESS,
        templates=pairs.templates,
        optimizer_state=suspect.optimizer_state or nothing("optimiser state of the model's training"),
        suspect_pairs=nothing("pairs that the model was trained on"),
        training_pairs=nothing("pairs that the model was trained on"),
        suspect_features=nothing("pairs that the model was trained on"),
        trigger=None,
    )


def lacking(card: Card, pairs: Pairs) -> str | None:
    """What a card names and an audit of these pairs cannot give, in words; None where nothing is missing."""
    there = {"labels": pairs.labelled, "class_names": bool(pairs.class_names)}
    missing = [need for need in sorted(card.needs) if need in REMEDIES and not there.get(need, False)]
    return f"{card.title} needs {REMEDIES[missing[0]]}" if missing else None


def check_repair(repair: Repair, pairs: Pairs) -> None:
    """Refuses, before any compute, a repair that cannot run.

    Raises:
        UserError: its card names what is not there, or its batch is larger than the clean pairs.
    """
    missing = lacking(repair.own_card, pairs)
    if missing:
        raise UserError(f"--repair {repair.name}: {missing}")
    batch = getattr(repair, "batch_size", None)
    if isinstance(batch, int) and batch > pairs.clean.num_rows:
        raise UserError(
            f"--repair {repair.name}: batch_size must be at most the {pairs.clean.num_rows} clean pairs, got {batch}; "
            f"give more data, or --repair {repair.name}:batch_size={pairs.clean.num_rows // 2}"
        )


def accuracy(model: ClipModel, pairs: Pairs) -> Accuracy | None:
    """Zero-shot accuracy where there are labels, else how often an image finds its own caption; None if neither."""
    shown = pairs.validation
    if pairs.class_names and bool((shown.labels >= 0).any()):
        rows = np.flatnonzero(shown.labels >= 0)
        hits = (predictions(model, pairs) == shown.labels)[rows]
        return Accuracy("zero-shot accuracy", int(hits.sum()), len(rows))
    if not any(shown.captions):
        return None
    images = encode(model, shown, Condition("clean"), batch_size=ENCODED_AT_ONCE)
    with evaluation_mode(model), torch.inference_mode():
        texts = readouts.encode_texts(model, shown.captions)
    found = retrieval.retrieve(images, texts)
    return Accuracy(f"own caption first of {len(images)}", int((found.rank == 0).sum()), len(images))


def predictions(
    model: ClipModel, pairs: Pairs, apply: Callable[[torch.Tensor, np.ndarray], torch.Tensor] | None = None
) -> np.ndarray:
    """(N,) class that each validation image is taken for, with a trigger or as it is."""
    head = readouts.text_head(model, pairs.class_names, pairs.templates)
    condition = Condition("clean" if apply is None else "trigger", apply=apply)
    features = encode(model, pairs.validation, condition, batch_size=ENCODED_AT_ONCE)
    return readouts.zero_shot(features, head, logit_scale=float(model.logit_scale().detach()), target=None).predicted


def inspect(detector: ModelDetector, model: ClipModel, pairs: Pairs, around: MethodInputs, *, seed: int) -> Inspected:
    """Runs one detector, and tries the trigger that it recovers on validation."""
    began = time.monotonic()
    missing = lacking(detector.own_card, pairs)
    if missing:
        return Inspected(detector, None, missing, 0.0)
    try:
        finding = detector.inspect(
            model.eval(), GatedContext(detector.own_card, around, seed=derive_seed(seed, "detect"))
        )
    except NotApplicable as error:
        return Inspected(detector, None, str(error), time.monotonic() - began)
    seconds = time.monotonic() - began
    if not {"mask", "pattern"} <= finding.trigger.keys():
        return Inspected(detector, finding, finding.reason, seconds)
    effect, examples = tried(finding, model, pairs)
    return Inspected(detector, finding, finding.reason, seconds, effect, examples)


def stamp(finding: Finding) -> Callable[[torch.Tensor, np.ndarray], torch.Tensor]:
    """The recovered trigger as what is done to uint8 images."""
    mask, pattern = (finding.trigger[name].detach().float() for name in ("mask", "pattern"))

    def apply(images: torch.Tensor, ids: np.ndarray) -> torch.Tensor:
        on = [part.to(images.device) for part in (mask, pattern)]
        return ((1 - on[0]) * images.float() + on[0] * on[1] * 255).round().clamp(0, 255).to(torch.uint8)

    return apply


def tried(finding: Finding, model: ClipModel, pairs: Pairs) -> tuple[Effect | None, tuple[Example, ...]]:
    """What the recovered trigger does on validation, and some images to look at."""
    apply, shown = stamp(finding), pairs.validation
    before = after = None
    rows = np.arange(len(shown.ids))
    effect = None
    if pairs.class_names:
        before, after = predictions(model, pairs), predictions(model, pairs, apply)
        if finding.target is not None:
            rows = np.flatnonzero(shown.labels != finding.target)
            shares = [float((found[rows] == finding.target).mean()) for found in (before, after)]
            effect = Effect(pairs.class_names[finding.target], len(rows), *shares)
    rows = rows[:EXAMPLES]
    images = shown.images[torch.from_numpy(rows)]
    stamped = apply(images, shown.ids[rows])
    pictures = [part.permute(0, 2, 3, 1).contiguous().numpy() for part in (images, stamped)]
    names = [
        ("", "") if before is None or after is None else (pairs.class_names[before[row]], pairs.class_names[after[row]])
        for row in rows
    ]
    return effect, tuple(map(Example, *pictures, names))


def still_works(found: Inspected, model: ClipModel, pairs: Pairs) -> Inspected:
    """The run with what its trigger does to the repaired model beside it."""
    if found.effect is None or found.finding is None:
        return found
    target = found.finding.target
    rows = np.flatnonzero(pairs.validation.labels != target)
    share = float((predictions(model, pairs, stamp(found.finding))[rows] == target).mean())
    return found._replace(effect=found.effect._replace(repaired=share))


def mend(
    repair: Repair,
    model: ClipModel,
    pairs: Pairs,
    around: MethodInputs,
    *,
    seed: int,
    progress: Callable[[EpochEnd], None],
) -> Repaired:
    """Runs a repair on a copy of the model; one that fails says why."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="backstop-audit-") as name:
        # no epoch is kept to be chosen: an audit has nothing honest to choose by
        report = Report(
            validation=pairs.validation,
            conditions=(Condition("clean"),),
            folder=Path(name),
            base_key="",
            progress=progress,
        )
        recorder = EpochRecorder(report, around)
        context = GatedRepairContext(
            repair.own_card, around, recorder, seed=derive_seed(seed, "defend"), options=LoopOptions()
        )
        found, reason = None, ""
        try:
            found = given_back(repair.repair(model.eval(), context)).eval()
        except (NotApplicable, UserError, Collapsed, Diverged) as error:
            reason = str(error)
    findings = {key: value for key, value in context.findings.items() if not isinstance(value, torch.Tensor)}
    right = None if found is None else accuracy(found, pairs)
    return Repaired(repair, found, reason, time.monotonic() - began, right, recorder.rows, findings)
