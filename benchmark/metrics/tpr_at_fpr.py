"""TPR at 1 % FPR: share of attacked samples that are flagged, with a threshold set on clean reference samples alone.

Backstop's protocol, section 6: two published detectors reach a good AUROC and yet an F1 near 0 with a threshold that
could be set in practice. What the threshold really lets through is `realised_fpr`.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import pandas as pd

from benchmark.metrics._scores import FALSE_POSITIVE_RATE, READOUT, judged, percent, threshold
from benchmark.types import Card, Measure, Metric, proportion


class TPRAtFPR(Metric):
    """#{attacked: score > threshold} / #attacked; at most 1 % of the reference scores lie above the threshold."""

    name: ClassVar[str] = "tpr-at-fpr"
    of: ClassVar[Literal["outcomes", "scores"]] = "scores"
    higher_is_better: ClassVar[bool | None] = True
    card: ClassVar[Card] = Card(
        title="TPR at 1 % FPR",
        citation="Backstop",
        access="outputs",
        needs=frozenset({"clean_pairs"}),
        summary="Share of attacked samples flagged; the threshold comes from clean reference samples only.",
    )

    def measure(self, scores: pd.DataFrame, *, target: int | None) -> list[Measure]:
        """`tpr_at_1pct_fpr`; none without attacked and reference samples."""
        positives, _, reference = judged(scores)
        if not len(positives) or not len(reference):
            return []
        flagged = int((positives > threshold(reference)).sum())
        return [proportion(f"tpr_at_{percent(FALSE_POSITIVE_RATE)}_fpr", READOUT, flagged, len(positives))]
