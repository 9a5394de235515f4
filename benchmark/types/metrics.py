"""Metrics: reductions over stored outcomes, or over the stored scores of a detector."""

from __future__ import annotations

import math
from typing import Any, ClassVar, Literal, NamedTuple, Self

from benchmark.types.base import Method


class Measure(NamedTuple):
    """One number with its denominator: `value = count / total` for proportions, `count = -1` otherwise.

    A metric gives the first five; the rest is what is said of the metric, added by whoever called it (`of_metric`).
    """

    name: str
    readout: str
    value: float
    count: int  # pyright: ignore[reportIncompatibleMethodOverride]  (hides tuple.count)
    total: int
    version: int = 1
    metric: str = ""  # name of the metric
    unit: str = "share"
    lower: float | None = 0.0  # bounds of the value; None: unbounded
    upper: float | None = 1.0
    higher_is_better: bool | None = None

    def of_metric(self, metric: Metric) -> Self:
        """The same number with its metric's name, version, unit, bounds and direction."""
        lower, upper = (bound if math.isfinite(bound) else None for bound in metric.bounds)
        return self._replace(
            version=metric.version,
            metric=metric.name,
            unit=metric.unit,
            lower=lower,
            upper=upper,
            higher_is_better=metric.higher_is_better,
        )


def proportion(name: str, readout: str, count: int, total: int) -> Measure:
    """Makes a measure from a count; an empty denominator gives NaN, which the record stores as null."""
    return Measure(name, readout, count / total if total else float("nan"), int(count), int(total))


class Metric(Method):
    """A reduction over the stored tables of one model; needs no model and no GPU."""

    kind: ClassVar[str] = "metric"
    of: ClassVar[Literal["outcomes", "scores"]] = "outcomes"  # which table it reduces
    unit: ClassVar[str] = "share"
    bounds: ClassVar[tuple[float, float]] = (0.0, 1.0)
    higher_is_better: ClassVar[bool | None] = None

    def measure(self, table: Any, /, *, target: int | None) -> list[Measure]:
        """Reduces a table to measures.

        Args:
            table: pandas frame. A metric of "outcomes" gets the columns of `schemas.OUTCOMES`, all conditions of
                one model; a metric of "scores" those of `schemas.SCORES`, all units that one detector scored.
            target: class index of the attack's target, None without an attack. Rows that name a target of their own
                (column `target`) are judged by that.

        Returns:
            A list of `Measure`, one per read-out it applies to; empty where it does not apply.
        """
        raise NotImplementedError(f"{type(self).__name__} must define `measure`")
