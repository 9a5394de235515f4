"""AUROC: how likely a detector ranks an attacked sample above a clean one; ties count half.

J. A. Hanley and B. J. McNeil 1982, doi:10.1148/radiology.143.1.7063747: the Mann-Whitney statistic over P times N.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
import pandas as pd

from benchmark.metrics._scores import READOUT, judged
from benchmark.types import Card, Measure, Metric


class AUROC(Metric):
    """#{(a, c): score of attacked a > score of clean c} / #{(a, c)}."""

    name: ClassVar[str] = "auroc"
    of: ClassVar[Literal["outcomes", "scores"]] = "scores"
    unit: ClassVar[str] = "area"
    higher_is_better: ClassVar[bool | None] = True
    card: ClassVar[Card] = Card(
        title="AUROC",
        citation="doi:10.1148/radiology.143.1.7063747",
        access="outputs",
        summary="Area under the detector's ROC curve; a balanced view that hides low base rates.",
    )

    def measure(self, scores: pd.DataFrame, *, target: int | None) -> list[Measure]:
        """`auroc`; none without attacked and clean samples."""
        positives, negatives, _ = judged(scores)
        if not len(positives) or not len(negatives):
            return []
        return [Measure("auroc", READOUT, auroc(positives, negatives), -1, len(positives) + len(negatives))]


def auroc(positives: np.ndarray, negatives: np.ndarray) -> float:
    """Share of the pairs of a (P,) positive and an (N,) negative score that are ranked right; ties count half."""
    order = np.sort(negatives)
    below, upto = (np.searchsorted(order, positives, side=side) for side in ("left", "right"))
    return float((below + upto).sum() / (2 * len(positives) * len(negatives)))
