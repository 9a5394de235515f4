"""Target rate: share of clean samples, not of the target class, that are predicted as the target without any trigger.

The base rate that an attack success rate starts from.
"""

from __future__ import annotations

from typing import ClassVar

import pandas as pd

from benchmark.metrics._outcomes import aimed
from benchmark.types import Card, Measure, Metric, proportion
from benchmark.types.readouts import CLEAN


class TargetRate(Metric):
    """#{i: y_i != t, predicted(x_i) = t} / #{i: y_i != t}, on clean samples."""

    name: ClassVar[str] = "target-rate"
    higher_is_better: ClassVar[bool | None] = False
    card: ClassVar[Card] = Card(
        title="Target rate",
        citation="Backstop",
        access="outputs",
        summary="Share of clean non-target samples classified as the target.",
    )

    def measure(self, outcomes: pd.DataFrame, *, target: int | None) -> list[Measure]:
        """One `target_rate` per class read-out; none without a target."""
        return [
            proportion("target_rate", readout, int((predicted == aims).sum()), len(truth))
            for readout, truth, predicted, aims in aimed(outcomes, target=target, shown=CLEAN)
        ]
