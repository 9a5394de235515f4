"""Clean accuracy (CA): share of the clean test samples whose top-1 class is the true class.

As in Sahil Verma et al., arXiv:2311.14948.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from benchmark.metrics._outcomes import classified
from benchmark.types import Card, Measure, Metric, proportion

if TYPE_CHECKING:
    import pandas as pd


class CleanAccuracy(Metric):
    """#{i in D: predicted(x_i) = y_i} / |D|."""

    name: ClassVar[str] = "clean-accuracy"
    higher_is_better: ClassVar[bool | None] = True
    card: ClassVar[Card] = Card(
        title="Clean accuracy",
        citation="arXiv:2311.14948",
        access="outputs",
        summary="Top-1 accuracy on clean test samples.",
    )

    def measure(self, outcomes: pd.DataFrame, *, target: int | None) -> list[Measure]:
        """One `clean_accuracy` per class read-out."""
        return [
            proportion("clean_accuracy", readout, int((predicted == truth).sum()), len(truth))
            for readout, truth, predicted in classified(outcomes)
        ]
