"""Realised FPR: share of clean test samples that are flagged by the threshold that 1 % of the references lie above.

Part of Backstop's own protocol: it shows whether the threshold holds on other clean samples; on the clean twin it is
the rate of false alarms.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import pandas as pd

from benchmark.metrics._scores import FALSE_POSITIVE_RATE, READOUT, judged, percent, threshold
from benchmark.types import Card, Measure, Metric, proportion


class RealisedFPR(Metric):
    """#{clean: score > threshold} / #clean; at most 1 % of the reference scores lie above the threshold."""

    name: ClassVar[str] = "realised-fpr"
    of: ClassVar[Literal["outcomes", "scores"]] = "scores"
    higher_is_better: ClassVar[bool | None] = False
    card: ClassVar[Card] = Card(
        title="Realised FPR",
        citation="Backstop",
        access="outputs",
        needs=frozenset({"clean_pairs"}),
        summary="Share of clean test samples flagged at the threshold for 1 % of the clean references.",
    )

    def measure(self, scores: pd.DataFrame, *, target: int | None) -> list[Measure]:
        """`realised_fpr_at_1pct`; none without clean and reference samples."""
        _, negatives, reference = judged(scores)
        if not len(negatives) or not len(reference):
            return []
        flagged = int((negatives > threshold(reference)).sum())
        return [proportion(f"realised_fpr_at_{percent(FALSE_POSITIVE_RATE)}", READOUT, flagged, len(negatives))]
