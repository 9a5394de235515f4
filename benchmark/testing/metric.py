"""Contract of metrics: proportions within their bounds, with a denominator, whatever the order of the rows."""

from __future__ import annotations

import math

import pandas as pd

from benchmark.metrics.reduce import measures
from benchmark.records import OUTCOMES, Measure
from benchmark.testing.contract import Check, Checks, require
from benchmark.types import Metric

TARGET_INDEX = 1
_TRUTH = (0, 0, 2, 1, 1, 2)
_CLEAN = (0, 1, 2, 1, 0, 0)  # three of six right
_TRIGGERED = (1, 1, 2, 1, 1, 0)  # two of the four that are not of class 1 go to class 1
_RANKS = (0, 3, 12, 0, 7, 1)


def hand_outcomes() -> pd.DataFrame:
    """Outcomes of six samples of three classes, clean and triggered, and of six retrieval queries."""
    parts = [("clean", "zero_shot", _CLEAN), ("trigger", "zero_shot", _TRIGGERED)]
    parts += [("clean", "probe", _CLEAN), ("trigger", "probe", _TRIGGERED)]
    parts += [("clean", f"retrieval_{way}", _TRUTH) for way in ("image_to_text", "text_to_image")]
    rows = []
    for condition, readout, predicted in parts:
        retrieval = readout.startswith("retrieval")
        for index, (truth, found) in enumerate(zip(_TRUTH, predicted, strict=True)):
            rank = _RANKS[index] if retrieval else int(found != TARGET_INDEX)
            rows.append((index, condition, readout, index if retrieval else truth, found, rank, 0.5))
    types = {"true_class": "int32", "predicted": "int32", "target_rank": "int32", "score": "float32"}
    return pd.DataFrame(rows, columns=OUTCOMES.names).astype(types)


def metric_checks(metric: Metric) -> Checks:
    """The checks of one metric."""
    yield Check("measures", lambda: _measures(metric))
    yield Check("within bounds", lambda: _bounds(metric))
    yield Check("denominators", lambda: _denominators(metric))
    yield Check("without a target", lambda: _untargeted(metric))
    yield Check("outcomes unmodified", lambda: _unmodified(metric))
    yield Check("order of rows does not matter", lambda: _order(metric))
    yield Check("enters the record", lambda: _record(metric))


def _found(metric: Metric) -> list[Measure]:
    return metric.measure(hand_outcomes(), target=TARGET_INDEX)


def _measures(metric: Metric) -> str:
    found = _found(metric)
    require(len(found) > 0, "measure() must give something on clean, triggered and retrieval outcomes, got nothing")
    require(all(isinstance(item, Measure) for item in found), "measure() must return records.Measure items")
    names = [(item.name, item.readout) for item in found]
    require(len(set(names)) == len(names), f"each (name, readout) must stand once, got {names}")
    return ", ".join(sorted({item.name for item in found}))


def _bounds(metric: Metric) -> str:
    low, high = metric.bounds
    for item in _found(metric):
        inside = math.isfinite(item.value) and low <= item.value <= high
        require(inside, f"{item.name} must lie in [{low}, {high}], got {item.value}")
    return f"[{low}, {high}]"


def _denominators(metric: Metric) -> str:
    for item in _found(metric):
        require(item.total > 0, f"{item.name} must have a denominator above 0, got {item.total}")
        if item.count >= 0:
            ratio = math.isclose(item.value, item.count / item.total)
            require(ratio, f"{item.name} must be count / total, got {item.value}, {item.count} / {item.total}")
    return ""


def _untargeted(metric: Metric) -> str:
    frame = hand_outcomes()
    found = metric.measure(frame[frame["condition"] == "clean"].reset_index(drop=True), target=None)
    require(isinstance(found, list), f"measure() must return a list without a target, got {type(found).__name__}")
    return f"{len(found)} measures of an unattacked model"


def _unmodified(metric: Metric) -> str:
    frame = hand_outcomes()
    metric.measure(frame, target=TARGET_INDEX)
    require(frame.equals(hand_outcomes()), "measure() must not modify the outcomes")
    return ""


def _order(metric: Metric) -> str:
    shuffled = hand_outcomes().sample(frac=1, random_state=0).reset_index(drop=True)
    require(sorted(metric.measure(shuffled, target=TARGET_INDEX)) == sorted(_found(metric)), "order must not matter")
    return ""


def _record(metric: Metric) -> str:
    import pyarrow as pa

    table = pa.Table.from_pandas(hand_outcomes(), schema=OUTCOMES, preserve_index=False)
    found = measures([table], target=TARGET_INDEX, metrics=[metric])
    require(all(item.version == metric.version for item in found), "measures must carry the metric's version")
    return ""
