"""FPR at 95 % TPR: share of clean samples flagged when at least 95 % of the attacked ones are.

As in Hanxun Huang et al. (DAO), arXiv:2502.01385, section 4.
Differs: the released code interpolates between the points of the ROC curve; here the threshold is a score that an
attacked sample has, so that the rate can be reached.
Reference code: github.com/HanxunH/Detect-CLIP-Backdoor-Samples at ff2399a (process_detection_scores.py).
"""

from __future__ import annotations

import math
from typing import ClassVar, Literal

import numpy as np
import pandas as pd

from benchmark.metrics._scores import READOUT, judged, percent
from benchmark.types import Card, Measure, Metric, proportion

TRUE_POSITIVE_RATE = 0.95


class FPRAtTPR(Metric):
    """#{clean: score >= s} / #clean; s is the highest score that at least 95 % of the attacked samples reach."""

    name: ClassVar[str] = "fpr-at-tpr"
    of: ClassVar[Literal["outcomes", "scores"]] = "scores"
    higher_is_better: ClassVar[bool | None] = False
    card: ClassVar[Card] = Card(
        title="FPR at 95 % TPR",
        citation="arXiv:2502.01385",
        access="outputs",
        summary="Share of clean samples flagged where 95 % of the attacked ones are; the threshold is an oracle's.",
    )

    def measure(self, scores: pd.DataFrame, *, target: int | None) -> list[Measure]:
        """`fpr_at_95pct_tpr`; none without attacked and clean samples."""
        positives, negatives, _ = judged(scores)
        if not len(positives) or not len(negatives):
            return []
        needed = math.ceil(TRUE_POSITIVE_RATE * len(positives) - 1e-9)
        level = np.sort(positives)[len(positives) - needed]
        flagged = int((negatives >= level).sum())
        return [proportion(f"fpr_at_{percent(TRUE_POSITIVE_RATE)}_tpr", READOUT, flagged, len(negatives))]
