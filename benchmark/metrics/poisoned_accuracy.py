"""Poisoned accuracy (PA): share of triggered samples, not of the target class, that still get their true class.

A low attack success rate is not recovery; this is the other half. As in RVPT, arXiv:2412.20392.
"""

from __future__ import annotations

from typing import ClassVar

import pandas as pd

from benchmark.metrics._outcomes import aimed
from benchmark.types import Card, Measure, Metric, proportion


class PoisonedAccuracy(Metric):
    """#{i: y_i != t, predicted(triggered x_i) = y_i} / #{i: y_i != t}."""

    name: ClassVar[str] = "poisoned-accuracy"
    higher_is_better: ClassVar[bool | None] = True
    card: ClassVar[Card] = Card(
        title="Poisoned accuracy",
        citation="arXiv:2412.20392",
        access="outputs",
        needs=frozenset({"trigger"}),
        summary="Share of triggered non-target samples classified as their true class.",
    )

    def measure(self, outcomes: pd.DataFrame, *, target: int | None) -> list[Measure]:
        """One `poisoned_accuracy` per class read-out; none without a target or a triggered condition."""
        return [
            proportion("poisoned_accuracy", readout, int((predicted == truth).sum()), len(truth))
            for readout, truth, predicted, _ in aimed(outcomes, target=target)
        ]
