"""Contract of metrics: proportions within their bounds, with a denominator, whatever the order of the rows."""

from __future__ import annotations

import math

import pandas as pd

from benchmark.evaluation.measure import measures, score_measures
from benchmark.store.schemas import OUTCOMES, SCORES
from benchmark.testing.contract import Check, Checks, require
from benchmark.types import Measure, Metric

TARGET_INDEX = 1
_TRUTH = (0, 0, 2, 1, 1, 2)
_CLEAN = (0, 1, 2, 1, 0, 0)  # three of six right
_TRIGGERED = (1, 1, 2, 1, 1, 0)  # two of the four that are not of class 1 go to class 1
_RANKS = (0, 3, 12, 0, 7, 1)
_COSINES = (0.25, 0.5, 0.125, 0.375, 0.25, 0.5)
_TYPES = {"true_class": "int32", "predicted": "int32", "target_rank": "int32", "target": "int32", "score": "float32"}

_SCORES = ((0.5, -1.0, 0.25, 2.0), (0.0, 1.5, 0.25, -2.0, 0.75, 0.5), (3.0, 0.25, 1.0))


def hand_outcomes() -> pd.DataFrame:
    """Six samples of three classes, clean, squashed and triggered, under every read-out that there is.

    Triggered rows name a target of their own under zero-shot, as victims do, and none under the probe.
    """
    parts = [("clean", "zero_shot", _CLEAN), ("trigger", "zero_shot", _TRIGGERED), ("squash", "zero_shot", _CLEAN)]
    parts += [("clean", "probe", _CLEAN), ("trigger", "probe", _TRIGGERED)]
    parts += [("clean", f"retrieval_{way}", _TRUTH) for way in ("image_to_text", "text_to_image")]
    parts += [("trigger", "retrieval_target", _TRIGGERED)]
    parts += [(shown, f"similarity{part}", (-1,) * 6) for shown in ("clean", "trigger") for part in ("", "_square")]
    rows = []
    for condition, readout, predicted in parts:
        retrieval = readout.startswith("retrieval")
        for index, (truth, found) in enumerate(zip(_TRUTH, predicted, strict=True)):
            rank = _RANKS[index] if retrieval else int(found != TARGET_INDEX)
            cosine = _COSINES[index] + 0.375 * (condition == "trigger")
            score = {"similarity": cosine, "similarity_square": cosine**2 + 0.0625}.get(readout, 0.5)
            partner = retrieval and readout != "retrieval_target"
            own = TARGET_INDEX if condition == "trigger" and readout == "zero_shot" else -1
            rows.append((index, condition, readout, index if partner else truth, found, rank, own, score))
    return pd.DataFrame(rows, columns=OUTCOMES.names).astype(_TYPES)


def hand_scores(*, reference: bool) -> pd.DataFrame:
    """Scores of clean and attacked samples, as of images, or without the references, as of pairs."""
    parts = zip(("reference", "clean", "attacked"), _SCORES, strict=True)
    rows = [(split, split == "attacked", score) for split, scores in parts for score in scores]
    frame = pd.DataFrame(rows, columns=SCORES.names[1:]).astype({"score": "float32"})
    frame.insert(0, "id", range(len(frame)))
    return frame if reference else frame.loc[frame["split"] != "reference"].reset_index(drop=True)


def _frame(metric: Metric) -> pd.DataFrame:
    """What the metric reduces: of the hand-made frames, the first that it applies to."""
    if metric.of == "outcomes":
        return hand_outcomes()
    images, pairs = (hand_scores(reference=reference) for reference in (True, False))
    return images if metric.measure(images.copy(), target=None) else pairs


def metric_checks(metric: Metric) -> Checks:
    """The checks of one metric."""
    yield Check("measures", lambda: _measures(metric))
    yield Check("within bounds", lambda: _bounds(metric))
    yield Check("denominators", lambda: _denominators(metric))
    yield Check("without an attack", lambda: _unattacked(metric))
    yield Check("outcomes unmodified", lambda: _unmodified(metric))
    yield Check("order of rows does not matter", lambda: _order(metric))
    yield Check("enters the record", lambda: _record(metric))


def _found(metric: Metric) -> list[Measure]:
    return metric.measure(_frame(metric), target=TARGET_INDEX)


def _measures(metric: Metric) -> str:
    found = _found(metric)
    require(len(found) > 0, f"measure() must give something on {metric.of} of every sort, got nothing")
    require(all(isinstance(item, Measure) for item in found), "measure() must return Measure items")
    names = [(item.name, item.readout) for item in found]
    require(len(set(names)) == len(names), f"each (name, readout) must stand once, got {names}")
    return ", ".join(sorted({item.name for item in found}))


def _bounds(metric: Metric) -> str:
    low, high = metric.bounds
    for item in _found(metric):
        inside = math.isfinite(item.value) and low <= item.value <= high
        require(inside, f"{item.name} must lie in [{low}, {high}], got {item.value}; mend it, or say its `bounds`")
    return f"[{low}, {high}]"


def _denominators(metric: Metric) -> str:
    for item in _found(metric):
        require(item.total > 0, f"{item.name} must have a denominator above 0, got {item.total}")
        if item.count >= 0:
            ratio = math.isclose(item.value, item.count / item.total)
            require(ratio, f"{item.name} must be count / total, got {item.value}, {item.count} / {item.total}")
    return ""


def _unattacked(metric: Metric) -> str:
    frame = _frame(metric)
    attacked = frame["positive"] if metric.of == "scores" else frame["condition"] != "clean"
    found = metric.measure(frame[~attacked].reset_index(drop=True), target=None)
    require(isinstance(found, list), f"measure() must return a list without a target, got {type(found).__name__}")
    return f"{len(found)} measures of an unattacked model"


def _unmodified(metric: Metric) -> str:
    frame = _frame(metric)
    before = frame.copy(deep=True)
    metric.measure(frame, target=TARGET_INDEX)
    require(frame.equals(before), f"measure() must not modify the {metric.of}")
    return ""


def _order(metric: Metric) -> str:
    shuffled = _frame(metric).sample(frac=1, random_state=0).reset_index(drop=True)
    require(sorted(metric.measure(shuffled, target=TARGET_INDEX)) == sorted(_found(metric)), "order must not matter")
    return ""


def _record(metric: Metric) -> str:
    import pyarrow as pa

    if metric.of == "outcomes":
        table = pa.Table.from_pandas(_frame(metric), schema=OUTCOMES, preserve_index=False)
        found = measures([table], target=TARGET_INDEX, metrics=[metric])
    else:
        table = pa.Table.from_pandas(_frame(metric), schema=SCORES, preserve_index=False)
        found = score_measures(table, metrics=[metric])
    require(all(item.version == metric.version for item in found), "measures must carry the metric's version")
    require(len(found) == len(_found(metric)), "the reduction must give what measure() gives")
    return ""
