"""The measures of one model or detector: metrics over its stored tables. No model, no GPU."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
import pyarrow as pa

from benchmark.config import registry
from benchmark.errors import must
from benchmark.types import Measure, Metric
from benchmark.types.readouts import CLEAN, SQUASH

if TYPE_CHECKING:
    import pandas as pd


ROUNDING = 1e-6  # by which a value may lie outside its metric's bounds


def shipped_metrics() -> list[Metric]:
    """The metrics of every record, by name: those of this package, at their defaults, whatever else is installed."""
    classes = [registry.method("metric", name) for name in registry.names("metric")]
    found = [cls() for cls in classes if registry.shipped(cls)]
    return [metric for metric in found if isinstance(metric, Metric)]


def measures(
    tables: Iterable[pa.Table], *, target: int | None, metrics: Sequence[Metric] | None = None
) -> list[Measure]:
    """Reduces outcome tables to numbers.

    Args:
        tables: outcomes of one model: the clean condition, at most one triggered condition, and the squash control.
        target: class index of the attack's target, None without an attack.
        metrics: which metrics, of which those of outcomes are used; None: those of every record.

    Returns:
        Measures in order of metric; each carries what its metric says of itself.

    Raises:
        UserError: if the tables hold more than one triggered condition.
    """
    outcomes = pa.concat_tables(tables).to_pandas(categories=["condition", "readout"])  # compared many times
    triggered = [condition for condition in outcomes["condition"].unique() if condition not in (CLEAN, SQUASH)]
    if len(triggered) > 1:
        raise must("outcomes", "of at most one trigger", triggered, "reduce them one attack at a time")
    return _measure(outcomes, "outcomes", metrics, target=target)


def score_measures(table: pa.Table, *, metrics: Sequence[Metric] | None = None) -> list[Measure]:
    """Reduces the scores of one detector on one cell to numbers.

    Args:
        table: rows of `schemas.SCORES`.
        metrics: which metrics, of which those of scores are used; None: those of every record.

    Raises:
        UserError: if a score is not finite.
    """
    scores = table.to_pandas()
    wrong = ~np.isfinite(scores["score"].to_numpy())
    if wrong.any():
        first = scores[wrong].iloc[0]
        raise must("scores", "finite", float(first["score"]), f"see id {first['id']} and mend the detector")
    return _measure(scores, "scores", metrics, target=None)


def _measure(
    frame: pd.DataFrame, of: Literal["outcomes", "scores"], metrics: Sequence[Metric] | None, *, target: int | None
) -> list[Measure]:
    chosen = [metric for metric in (shipped_metrics() if metrics is None else metrics) if metric.of == of]
    return [measure for metric in chosen for measure in _of_metric(metric, frame, target)]


def _of_metric(metric: Metric, frame: pd.DataFrame, target: int | None) -> list[Measure]:
    found = [_within_bounds(measure, metric).of_metric(metric) for measure in metric.measure(frame, target=target)]
    places = Counter((measure.name, measure.readout) for measure in found)
    if twice := [place for place, count in places.items() if count > 1]:
        raise ValueError(f"metric {metric.name} must give each number of a read-out once, got {twice[0]} twice")
    return found


def _within_bounds(measure: Measure, metric: Metric) -> Measure:
    """The measure, where its metric keeps its word; NaN is no value, which any metric may have."""
    lower, upper = metric.bounds
    value: object = getattr(measure, "value", None)  # a plugin's metric may give anything
    if not isinstance(value, int | float | np.floating) or value < lower - ROUNDING or value > upper + ROUNDING:
        rule = f"measures with values from {lower:g} to {upper:g}"
        raise ValueError(f"metric {metric.name} must give {rule}, got {measure!r}")
    return measure
