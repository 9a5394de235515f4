"""Outcomes as small integers: one row for each test image, two columns for each evaluation of it."""

from __future__ import annotations

import json
from collections.abc import Mapping

import numpy as np
import pyarrow as pa

from benchmark.store.schemas import OUTCOMES

READOUT = "zero_shot"
_NONE = -2  # where an evaluation has no such image; -1 is a prediction of nothing


def narrow(found: Mapping[str, pa.Table]) -> pa.Table:
    """Packs outcome tables that look at the same images.

    Args:
        found: key of the evaluation -> its outcomes (`schemas.OUTCOMES`); only the zero-shot ones are packed.

    Returns:
        `id` and `true_class` of each image, by rising id; `predicted_<n>`, `target_rank_<n>` and, for attacks on chosen
        images, `target_<n>` of the n-th evaluation, whose key stands in the schema's metadata.

    Raises:
        ValueError: two evaluations take an image for another class, or look at it twice.
    """
    tables = {key: _zero_shot(table) for key, table in found.items()}
    classes: dict[int, int] = {}
    for table in tables.values():
        for row, true in zip(table["id"], table["true_class"], strict=True):
            if classes.setdefault(int(row), int(true)) != true:
                raise ValueError(f"image {row} has two classes, {classes[int(row)]} and {true}")
    ids = np.array(sorted(classes), np.int64)
    columns = {"id": ids, "true_class": np.array([classes[row] for row in ids.tolist()], np.int64)}
    for place, table in enumerate(tables.values()):
        if len(np.unique(table["id"])) < len(table["id"]):
            raise ValueError("an image stands twice in one evaluation")
        at = np.searchsorted(ids, table["id"])
        names = ["predicted", "target_rank", *(["target"] if (table["target"] >= 0).any() else [])]
        for name in names:
            column = np.full(len(ids), _NONE, np.int64)
            column[at] = table[name]
            columns[f"{name}_{place}"] = column
    arrays = {name: pa.array(column.astype(_smallest(column))) for name, column in columns.items()}
    return pa.table(arrays).replace_schema_metadata({"evaluations": json.dumps([*tables])})


def widen(table: pa.Table, conditions: Mapping[str, str]) -> dict[str, pa.Table]:
    """Takes `narrow` back: key -> outcomes; probabilities, which were not packed, are null.

    Args:
        table: what `narrow` gave.
        conditions: name of each evaluation's condition, by key.
    """
    keys = json.loads((table.schema.metadata or {})[b"evaluations"])
    found = {}
    for place, key in enumerate(keys):
        predicted = table[f"predicted_{place}"].to_numpy()
        there = predicted != _NONE
        count = int(there.sum())
        target = f"target_{place}" in table.column_names
        columns = {
            "id": table["id"].to_numpy()[there],
            "condition": [conditions[key]] * count,
            "readout": [READOUT] * count,
            "true_class": table["true_class"].to_numpy()[there],
            "predicted": predicted[there],
            "target_rank": table[f"target_rank_{place}"].to_numpy()[there],
            "target": table[f"target_{place}"].to_numpy()[there] if target else np.full(count, -1),
            "score": [None] * count,
        }
        arrays = [pa.array(columns[field.name]).cast(field.type) for field in OUTCOMES]
        found[key] = pa.table(arrays, schema=OUTCOMES)
    return found


def _zero_shot(table: pa.Table) -> dict[str, np.ndarray]:
    asked = np.array(table["readout"].to_pylist()) == READOUT
    return {name: table[name].to_numpy()[asked] for name in ("id", "true_class", "predicted", "target_rank", "target")}


def _smallest(column: np.ndarray) -> np.dtype:
    low, high = (int(column.min()), int(column.max())) if len(column) else (0, 0)
    return np.result_type(np.min_scalar_type(low), np.min_scalar_type(high))
