"""`evaluate`: outcomes of one model under several conditions, one artifact each."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any

import pyarrow.parquet as pq

from benchmark.errors import NotApplicable
from benchmark.evaluation.evaluate import Condition, evaluate
from benchmark.stages.cells import Cell
from benchmark.stages.common import Compute, Stopwatch, Tick, required
from benchmark.stages.environment import numerics
from benchmark.stages.evaluations import ConditionSpec, ModelRef, evaluate_key
from benchmark.stages.work.defend import load_repaired
from benchmark.stages.work.method_inputs import condition_of, held_out
from benchmark.stages.work.weights import load_pretrained
from benchmark.store.artifacts import Store


def evaluate_stage(
    store: Store,
    cell: Cell,
    ref: ModelRef,
    conditions: Sequence[ConditionSpec],
    split: str,
    compute: Compute,
    *,
    tick: Tick,
) -> None:
    """Evaluates one model under several conditions; writes one artifact per condition that is not there yet."""
    missing = [item for item in conditions if not store.has("evaluate", _key(cell, item, ref, split))]
    if not missing:
        return
    tick(f"{len(missing)} condition{'s' * (len(missing) > 1)}", 0.1)
    if not required(store, "data", cell.keys.evaluation).facts["class_names"]:
        raise NotApplicable("zero-shot evaluation needs class names; give the suite an `evaluation` set with labels")
    # one pass per form of the model: as it is, then transformed
    forms = groupby(sorted(missing, key=lambda item: item.transform or ""), key=lambda item: item.transform)
    for _, items in forms:
        _evaluate(store, cell, ref, list(items), split, compute)


def _key(cell: Cell, item: ConditionSpec, ref: ModelRef, split: str) -> str:
    return evaluate_key(cell, item, split=split, model=ref.key, epoch=ref.epoch)


def _evaluate(
    store: Store, cell: Cell, ref: ModelRef, items: Sequence[ConditionSpec], split: str, compute: Compute
) -> None:
    data, evaluation = required(store, "data", cell.keys.data), required(store, "data", cell.keys.evaluation)
    model = (
        load_pretrained(store, ref.key) if ref.stage == "pretrain" else load_repaired(store, ref.key, ref.epoch or 0)
    )
    if items[0].transform:
        from benchmark.models import model_transforms

        model = model_transforms.apply(items[0].transform, model)
    conditions = [condition_of(store, cell, item, evaluation) for item in items]
    watch = Stopwatch()
    found = evaluate(
        model.to(compute.device),
        held_out(evaluation, split),
        conditions,
        class_names=evaluation.facts["class_names"],
        templates=evaluation.facts["evaluation_templates"],
        readouts=cell.experiment.readouts,
        clean=held_out(data, "clean"),
        target=None,
        batch_size=compute.evaluation_batch,
    )
    seconds = {"wall_s": watch.seconds(), "encode_s": found.encode_s, "probe_fit_s": found.probe_fit_s}
    for item, condition, table in zip(items, conditions, found.outcomes.values(), strict=True):
        draft = store.draft("evaluate", _key(cell, item, ref, split))
        pq.write_table(table, draft.path("outcomes.parquet"))
        draft.commit(_facts(cell, ref, item, condition, split) | numerics(compute) | seconds)


def _facts(cell: Cell, ref: ModelRef, item: ConditionSpec, condition: Condition, split: str) -> dict[str, Any]:
    """What the outcomes are of, so that they can be read without the suite that asked for them."""
    return {
        "model": ref._asdict(),
        "split": split,
        "condition": condition.name,  # as the rows of the table name it
        "attack": item.attack.to_dict() if item.attack else None,
        "poison": item.poison,  # key of the trigger
        "target": condition.target,  # class index; None: none, or one of each row's own
        "transform": item.transform,
        "geometry": item.geometry,
        "readouts": cell.experiment.readouts.model_dump(mode="json"),
        "data": cell.keys.data,  # whose clean pairs the read-outs are fitted on
        "evaluation": cell.keys.evaluation,  # whose split it is
    }
