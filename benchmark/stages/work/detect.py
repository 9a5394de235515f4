"""`detect`: a detector's scores of pairs, inputs or the model, with what is true beside them."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from safetensors.torch import save_file

from benchmark.contexts.defense import GatedContext
from benchmark.errors import NotApplicable
from benchmark.evaluation.evaluate import Condition, HeldOut
from benchmark.models.clip import ClipModel
from benchmark.stages.cells import Cell
from benchmark.stages.common import Compute, Stopwatch, Tick, required
from benchmark.stages.work.method_inputs import conditions_of, held_out, method_inputs
from benchmark.stages.work.poison import load_poison
from benchmark.stages.work.weights import load_pretrained
from benchmark.store.artifacts import Store
from benchmark.store.keys import derive_seed
from benchmark.store.schemas import SCORES
from benchmark.types import Detector, Filter, Finding, InputDetector, ModelDetector


class Detection(NamedTuple):
    """What a detector says."""

    scores: pa.Table  # rows of `schemas.SCORES`
    finding: Finding | None  # of a detector of models
    clean_pairs: int  # that it used


def detect_stage(store: Store, cell: Cell, compute: Compute, *, tick: Tick) -> None:
    """Runs a cell's detector on its suspect model."""
    detector, keys = cell.experiment.detector, cell.keys
    assert detector is not None and keys.detect is not None
    tick(f"scoring {detector.unit}s", 0.1)
    draft, watch = store.draft("detect", keys.detect), Stopwatch()
    found = detect(store, cell, detector, compute)
    facts: dict[str, Any] = {}
    if found.finding:
        facts = {name: getattr(found.finding, name) for name in ("suspicious", "target", "reason")}
        if found.finding.trigger:
            tensors = {name: value.detach().cpu().contiguous() for name, value in found.finding.trigger.items()}
            save_file(tensors, draft.path("trigger.safetensors"))
    pq.write_table(found.scores, draft.path("scores.parquet"))
    draft.commit(facts | {"unit": detector.unit, "clean_pairs": found.clean_pairs, "wall_s": watch.seconds()})


def detect(store: Store, cell: Cell, detector: Detector, compute: Compute) -> Detection:
    """Runs a detector on the suspect model of a cell."""
    model = load_pretrained(store, cell.keys.pretrain).to(compute.device).eval()
    resources = method_inputs(store, cell, model, key=cell.keys.pretrain)
    context = GatedContext(detector.own_card, resources, seed=derive_seed(cell.experiment.seed, "detect"))
    finding = None
    if isinstance(detector, Filter):
        with torch.no_grad():
            scores = detector.scores(model, context)
        table = _pairs(store, cell, one_each(scores, _num_pairs(store, cell)))
    elif isinstance(detector, InputDetector):
        table = _inputs(store, cell, detector, model, context, compute)
    elif isinstance(detector, ModelDetector):
        finding = sound(detector.inspect(model, context), num_classes=len(resources.class_names))
        attacked = cell.experiment.attack is not None
        table = _rows(torch.tensor([finding.score]), np.zeros(1, np.int64), "attacked" if attacked else "clean")
    else:
        raise TypeError(f"{detector.name} must be a Filter, an InputDetector or a ModelDetector")
    return Detection(table, finding, context.clean_pairs_used)


def one_each(scores: Any, count: int) -> torch.Tensor:
    """What a detector gave, where it is a score for each of `count`.

    Raises:
        ValueError: it is not.
    """
    if not isinstance(scores, torch.Tensor) or scores.shape != (count,):
        given = tuple(scores.shape) if isinstance(scores, torch.Tensor) else type(scores).__name__
        raise ValueError(f"a detector must give a tensor of shape ({count},), got {given}")
    return scores


def sound(finding: Any, *, num_classes: int) -> Finding:
    """What a detector of models gave, with its reason in one line.

    Raises:
        ValueError: it is no finding, or its target no class.
    """
    if not isinstance(finding, Finding):
        raise ValueError(f"a detector of models must give a Finding, got {type(finding).__name__}")
    if finding.target is not None and not 0 <= finding.target < num_classes:
        raise ValueError(f"the target of a finding must be a class below {num_classes}, got {finding.target}")
    return finding._replace(reason=" ".join(str(finding.reason or "").split()))


def _num_pairs(store: Store, cell: Cell) -> int:
    """Of the pairs that the suspect model was trained on."""
    if cell.keys.poison:
        return int(required(store, "poison", cell.keys.poison).facts["num_rows"])
    return int(required(store, "data", cell.keys.data).facts["splits"]["pretrain"])


def _rows(scores: torch.Tensor, ids: np.ndarray, split: str) -> pa.Table:
    """Rows of `schemas.SCORES` of one split."""
    values = scores.detach().float().cpu().numpy()
    if not np.isfinite(values).all():
        raise ValueError(f"a detector's scores must be finite, {int((~np.isfinite(values)).sum())} are not")
    names = pa.repeat(pa.scalar(split, pa.string()), len(ids))
    positive = pa.repeat(pa.scalar(split == "attacked", pa.bool_()), len(ids))
    return pa.Table.from_arrays([pa.array(ids, pa.int64()), names, positive, pa.array(values)], schema=SCORES)


def _pairs(store: Store, cell: Cell, scores: torch.Tensor) -> pa.Table:
    """Clean pairs first, then the poisoned ones; ids are rows of the pool, sorted again by who reads them."""
    poisoned = np.zeros(len(scores), bool)
    if cell.keys.poison:
        poisoned[load_poison(required(store, "poison", cell.keys.poison).folder).table.rows] = True
    rows = np.arange(len(scores), dtype=np.int64)
    parts = [
        _rows(scores[torch.from_numpy(at)], rows[at], name)
        for at, name in ((~poisoned, "clean"), (poisoned, "attacked"))
    ]
    return pa.concat_tables(parts).sort_by("id")


@torch.no_grad()
def _inputs(
    store: Store, cell: Cell, detector: InputDetector, model: ClipModel, context: GatedContext, compute: Compute
) -> pa.Table:
    """Clean validation sets the threshold; test is scored clean and, without the target class, under the attack."""
    evaluation = required(store, "data", cell.keys.evaluation)
    validation, test = held_out(evaluation, "validation"), held_out(evaluation, "test")
    state = detector.fit(model, context)

    def scored(found: HeldOut, condition: Condition, split: str) -> pa.Table:
        parts = []
        for start in range(0, len(found.ids), compute.evaluation_batch):
            at = slice(start, start + compute.evaluation_batch)
            images = found.images[at]
            if condition.apply is not None:
                images = condition.apply(images, found.ids[at])
            floats = images.to(model.device).float() / 255
            parts.append(one_each(detector.score(model, floats, state, context), len(floats)).cpu())
        return _rows(torch.cat(parts), found.ids, split)

    clean, *attacks = conditions_of(store, cell, evaluation)
    tables = [scored(validation, clean, "reference"), scored(test, clean, "clean")]
    for attack in attacks:
        if attack.shown is not None:
            tables.append(scored(attack.shown, attack, "attacked"))
        else:
            others = np.flatnonzero(test.labels != attack.target)
            tables.append(scored(_taken(test, others), attack, "attacked"))
    if not all(len(table) for table in tables):
        raise NotApplicable(f"{detector.card.title} has no image to score")
    return pa.concat_tables(tables)


def _taken(found: HeldOut, rows: np.ndarray) -> HeldOut:
    captions = [found.captions[row] for row in rows]
    return HeldOut(found.images[torch.from_numpy(rows)], found.labels[rows], captions, found.ids[rows])
