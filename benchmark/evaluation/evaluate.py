"""Evaluation: one encode pass per (model, condition), read by every read-out; outcomes per sample, never a grade."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import torch
from torch.nn import functional

from benchmark.config.spec import Readouts
from benchmark.errors import must
from benchmark.evaluation import readouts as reading
from benchmark.evaluation.outcomes import (
    Captions,
    Condition,
    Fitted,
    HeldOut,
    class_tables,
    retrieval_tables,
    spread_tables,
)
from benchmark.evaluation.readouts import Encoder, Neighbours, text_head
from benchmark.models.mode import evaluation_mode

__all__ = ["Condition", "Evaluation", "HeldOut", "Validation", "encode", "evaluate", "text_head", "validate"]

LOSS_BATCH = 128  # pairs of one contrastive batch of the validation loss


class Evaluation(NamedTuple):
    """What an evaluation leaves: one outcome table per condition, and where the time went."""

    outcomes: dict[str, pa.Table]  # condition name -> rows of schemas.OUTCOMES
    encode_s: float  # all encode passes, triggers included
    probe_fit_s: float


class Validation(NamedTuple):
    """One measured epoch on the validation split, zero-shot; ASR is over samples that are not of the target class."""

    accuracy: float
    total: int
    asr: float | None
    asr_total: int
    poisoned_accuracy: float | None
    loss: float  # mean contrastive loss over clean batches; NaN below two captioned pairs


def encode(
    model: Encoder, held_out: HeldOut, condition: Condition, *, batch_size: int, rows: np.ndarray | None = None
) -> torch.Tensor:
    """Encodes images under a condition in one pass, in evaluation mode, which is undone afterwards.

    Args:
        model: the model; images are moved to its device batch by batch.
        held_out: the split.
        condition: clean, or a trigger applied to each batch.
        batch_size: images at once; does not change results beyond rounding.
        rows: positions within the split to encode; None: all of them.

    Returns:
        (N, D) float32, L2-normalised, on the model's device.
    """
    count = len(held_out.images) if rows is None else len(rows)
    features = torch.empty(count, model.embed_dim, device=model.device)
    with evaluation_mode(model), torch.inference_mode():
        for start in range(0, count, batch_size):
            end = min(start + batch_size, count)
            at = slice(start, end) if rows is None else rows[start:end]
            images = held_out.images[at].to(model.device, non_blocking=True)
            if condition.apply is not None:
                images = condition.apply(images, held_out.ids[at])
            features[start:end] = model.encode_images(images)
    return features


def evaluate(
    model: Encoder,
    test: HeldOut,
    conditions: Sequence[Condition],
    *,
    class_names: Sequence[str],
    templates: Sequence[str],
    readouts: Readouts,
    clean: HeldOut | None,
    target: int | None,
    batch_size: int,
) -> Evaluation:
    """Evaluates a model on a test split under each condition.

    Args:
        model: the model; its mode is left as found.
        test: the split that is measured.
        conditions: "clean", the triggers and the squash control; names are distinct.
        class_names: (C,) names in label order.
        templates: evaluation prompts with one "{}".
        readouts: which read-outs beside zero-shot.
        clean: the defender's split, on which probe and kNN are fitted; None or unlabelled: neither is read out.
        target: class whose rank is stored where a condition names none; None: rank -1.
        batch_size: images encoded at once.

    Raises:
        UserError: if two conditions share a name, or the target is not a class.
    """
    _check(conditions, target, len(class_names))
    timer = _Timer(model)
    with timer:
        head = text_head(model, class_names, templates)
    known = _known(model, clean, readouts, batch_size=batch_size, timer=timer)
    fit_began = time.perf_counter()
    probe = None
    if known is not None and readouts.probe:
        probe = reading.fit_probe(known.features, known.labels, num_classes=len(class_names))
    probe_fit_s = time.perf_counter() - fit_began
    near = readouts.knn_neighbours if readouts.knn else 0
    fitted = Fitted(head, _scale(model), probe, known, near)
    captions = _captions(model, test, readouts, timer) if readouts.retrieval else None
    outcomes = {}
    for condition in conditions:
        shown = condition.shown or test
        with timer:
            features = encode(model, shown, condition, batch_size=batch_size)
        aimed = condition._replace(target=target) if condition.target is None else condition
        parts = class_tables(features, shown, fitted, aimed)
        if condition.shown is None:
            parts += spread_tables(features, test, aimed, readouts.similarity_samples)
            if captions is not None:
                parts += retrieval_tables(features, test, captions, aimed)
        outcomes[condition.name] = pa.concat_tables(parts)
    return Evaluation(outcomes, timer.seconds, probe_fit_s)


def validate(
    model: Encoder,
    held_out: HeldOut,
    conditions: Sequence[Condition],
    *,
    class_names: Sequence[str],
    templates: Sequence[str],
    batch_size: int,
) -> Validation:
    """Measures one epoch of a repair on validation, zero-shot; cheap enough to run after every epoch.

    The triggered pass encodes only the samples that count: labelled and not of the target class.

    Args:
        model: the model as it stands; its mode is left as found.
        held_out: the validation split.
        conditions: clean, and at most one trigger.
        class_names: (C,) names in label order.
        templates: evaluation prompts with one "{}".
        batch_size: images encoded at once.
    """
    head, scale = text_head(model, class_names, templates), _scale(model)
    clean = encode(model, held_out, Condition("clean"), batch_size=batch_size)
    labelled = held_out.labels >= 0
    hits = reading.zero_shot(clean, head, logit_scale=scale, target=None).predicted == held_out.labels
    asr = poisoned_accuracy = None
    rows = np.empty(0, dtype=np.int64)
    condition = next((item for item in conditions if item.apply is not None or item.targets is not None), None)
    if condition is not None:
        shown = condition.shown or held_out
        aims = np.full(len(shown.labels), condition.target) if condition.targets is None else condition.targets
        rows = np.flatnonzero((shown.labels >= 0) & (shown.labels != aims))
        triggered = encode(model, shown, condition, batch_size=batch_size, rows=rows)
        predicted = reading.zero_shot(triggered, head, logit_scale=scale, target=None).predicted
        asr = _share(predicted == aims[rows])
        poisoned_accuracy = _share(predicted == shown.labels[rows])
    loss = _contrastive_loss(model, clean, held_out.captions, scale)
    return Validation(_share(hits[labelled]), int(labelled.sum()), asr, len(rows), poisoned_accuracy, loss)


def validation_loss(model: Encoder, held_out: HeldOut, *, batch_size: int = 512) -> float:
    """Mean contrastive loss over clean batches of `LOSS_BATCH` pairs; NaN below two captioned pairs."""
    images = encode(model, held_out, Condition("clean"), batch_size=batch_size)
    return _contrastive_loss(model, images, held_out.captions, _scale(model))


def _scale(model: Encoder) -> float:
    return float(model.logit_scale().detach())


class _Timer:
    """Adds up the seconds of encode passes; waits for a GPU so that they are counted where they belong."""

    def __init__(self, model: Encoder) -> None:
        self._device, self.seconds, self._start = torch.device(model.device), 0.0, 0.0

    def __enter__(self) -> None:
        self._start = self._now()

    def __exit__(self, *_: object) -> None:
        self.seconds += self._now() - self._start

    def _now(self) -> float:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        return time.perf_counter()


def _check(conditions: Sequence[Condition], target: int | None, num_classes: int) -> None:
    names = [condition.name for condition in conditions]
    if len(set(names)) < len(names):
        raise must("conditions", "distinct in name", names, "rename one")
    for aim in (target, *(condition.target for condition in conditions)):
        if aim is not None and not 0 <= aim < num_classes:
            raise must("target", f"a class index below {num_classes}", aim, "name a class of the data set")


def _known(
    model: Encoder, clean: HeldOut | None, wanted: Readouts, *, batch_size: int, timer: _Timer
) -> Neighbours | None:
    """Encodes the labelled samples of the clean split, once; None where there are none or nothing asks for them."""
    rows = np.flatnonzero(clean.labels >= 0) if clean is not None else np.empty(0, dtype=np.int64)
    if clean is None or len(rows) == 0 or not (wanted.probe or wanted.knn):
        return None
    with timer:
        features = encode(model, clean, Condition("clean"), batch_size=batch_size, rows=rows)
    return Neighbours(features, torch.from_numpy(clean.labels[rows]).to(features.device))


def _captions(model: Encoder, test: HeldOut, wanted: Readouts, timer: _Timer) -> Captions | None:
    """The first pairs that have a caption, encoded once for all conditions; None where there are none."""
    rows = np.array([row for row, text in enumerate(test.captions) if text][: wanted.retrieval_pairs], dtype=np.int64)
    if len(rows) == 0:
        return None
    with timer, evaluation_mode(model):
        texts = reading.encode_texts(model, [test.captions[row] for row in rows])
    return Captions(rows, texts, torch.from_numpy(test.labels[rows]).to(texts.device))


def _contrastive_loss(model: Encoder, images: torch.Tensor, captions: Sequence[str], scale: float) -> float:
    """Symmetric contrastive loss, mean over fixed batches of LOSS_BATCH pairs; a shorter rest counts only if alone."""
    rows = [row for row, caption in enumerate(captions) if caption]
    size = min(LOSS_BATCH, len(rows))
    if size < 2:
        return float("nan")
    rows = rows[: len(rows) // size * size]
    with evaluation_mode(model), torch.inference_mode():
        texts = reading.encode_texts(model, [captions[row] for row in rows]).view(-1, size, images.shape[1])
        pairs = images[torch.tensor(rows, device=images.device)].view_as(texts)
        logits = scale * pairs @ texts.transpose(1, 2)  # (batches, G, G)
        truth = torch.arange(size, device=logits.device).expand(len(logits), size)
        sides = (functional.cross_entropy(side.transpose(1, 2), truth) for side in (logits, logits.transpose(1, 2)))
        return float(sum(sides)) / 2


def _share(hits: np.ndarray) -> float:
    return float(hits.mean()) if len(hits) else float("nan")
