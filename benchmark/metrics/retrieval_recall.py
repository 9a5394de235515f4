"""Retrieval recall R@1, R@5, R@10: share of queries whose true partner is among the first k, in both directions.

As in Alec Radford et al. (CLIP), arXiv:2103.00020.
"""

from __future__ import annotations

from typing import ClassVar

import pandas as pd

from benchmark.metrics._outcomes import retrieval_ranks
from benchmark.types import Card, Measure, Metric, proportion


class RetrievalRecall(Metric):
    """#{queries: fewer than k candidates score above the partner} / #queries."""

    name: ClassVar[str] = "retrieval-recall"
    higher_is_better: ClassVar[bool | None] = True
    card: ClassVar[Card] = Card(
        title="Retrieval recall",
        citation="arXiv:2103.00020",
        access="outputs",
        summary="Image-to-text and text-to-image recall at 1, 5 and 10 on clean pairs.",
    )

    def measure(self, outcomes: pd.DataFrame, *, target: int | None) -> list[Measure]:
        """`recall_at_1`, `recall_at_5`, `recall_at_10` per direction; none without retrieval outcomes."""
        return [
            proportion(f"recall_at_{k}", readout, int((ranks < k).sum()), len(ranks))
            for readout, ranks in retrieval_ranks(outcomes).items()
            for k in (1, 5, 10)
        ]
