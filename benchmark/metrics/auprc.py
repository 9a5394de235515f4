"""AUPRC at stated base rates: area under precision and recall, were 0.01 %, 0.1 % or 1 % of the samples attacked.

Average precision (the step function, ties taken together) with attacked and clean samples weighted to the base rate,
as in the protocol: 30 or 50 % of attacked samples, as often published, say little about a web crawl.
Differs: with N clean samples no false positive rate below 1/N can be told from none, so at a base rate near 1/N a
perfect ranking of few samples looks better than it would on many.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
import pandas as pd

from benchmark.metrics._scores import READOUT, judged, percent
from benchmark.types import Card, Measure, Metric

BASE_RATES = (0.0001, 0.001, 0.01)


class AUPRC(Metric):
    """Sum over thresholds of precision times gain in recall, precision = b TPR / (b TPR + (1 - b) FPR)."""

    name: ClassVar[str] = "auprc"
    of: ClassVar[Literal["outcomes", "scores"]] = "scores"
    unit: ClassVar[str] = "area"
    higher_is_better: ClassVar[bool | None] = True
    card: ClassVar[Card] = Card(
        title="AUPRC at base rate",
        citation="doi:10.1371/journal.pone.0118432",
        access="outputs",
        summary="Average precision, re-weighted to base rates of 0.01, 0.1 and 1 %.",
    )

    def measure(self, scores: pd.DataFrame, *, target: int | None) -> list[Measure]:
        """`auprc_at_0.01pct`, `auprc_at_0.1pct`, `auprc_at_1pct`; none without attacked and clean samples."""
        positives, negatives, _ = judged(scores)
        if not len(positives) or not len(negatives):
            return []
        levels = np.unique(positives)[::-1]  # recall grows at these thresholds only
        recall, fall_out = (
            1 - np.searchsorted(np.sort(side), levels, side="left") / len(side) for side in (positives, negatives)
        )
        gain = np.diff(recall, prepend=0)
        total = len(positives) + len(negatives)
        return [
            Measure(f"auprc_at_{percent(base)}", READOUT, _area(recall, fall_out, gain, base=base), -1, total)
            for base in BASE_RATES
        ]


def _area(recall: np.ndarray, fall_out: np.ndarray, gain: np.ndarray, *, base: float) -> float:
    return float((gain * base * recall / (base * recall + (1 - base) * fall_out)).sum())
