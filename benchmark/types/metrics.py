"""Metrics: reductions over stored outcomes."""

from __future__ import annotations

from typing import Any, ClassVar

from benchmark.types.base import Method


class Metric(Method):
    """A reduction over the outcome tables of one model; needs no model and no GPU."""

    kind: ClassVar[str] = "metric"
    unit: ClassVar[str] = "share"
    bounds: ClassVar[tuple[float, float]] = (0.0, 1.0)
    higher_is_better: ClassVar[bool | None] = None

    def measure(self, outcomes: Any, *, target: int | None) -> list[Any]:
        """Reduces outcomes to measures.

        Args:
            outcomes: pandas frame with the columns of `records.OUTCOMES`, all conditions of one model.
            target: class index of the attack's target, None without an attack.

        Returns:
            A list of `records.Measure`, one per read-out it applies to; empty where it does not apply.
        """
        raise NotImplementedError
