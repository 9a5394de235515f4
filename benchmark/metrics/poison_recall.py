"""Poison recall: share of the poisoned pairs that are among the most suspicious 0.1, 1 or 5 % of all pairs.

Backstop's protocol, section 6; the other half of `poisons_left`.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import pandas as pd

from benchmark.metrics._scores import READOUT, judged, percent, removed
from benchmark.metrics.poisons_left import BUDGETS
from benchmark.types import Card, Measure, Metric, proportion


class PoisonRecall(Metric):
    """#{poisoned pairs among the share b of all pairs with the highest scores} / #poisoned pairs."""

    name: ClassVar[str] = "poison-recall"
    of: ClassVar[Literal["outcomes", "scores"]] = "scores"
    higher_is_better: ClassVar[bool | None] = True
    card: ClassVar[Card] = Card(
        title="Poison recall",
        citation="Backstop",
        access="outputs",
        summary="Share of the poisoned pairs among the most suspicious 0.1, 1 and 5 % of the pairs.",
    )

    def measure(self, scores: pd.DataFrame, *, target: int | None) -> list[Measure]:
        """`poison_recall_at_0.1pct`, `…_1pct`, `…_5pct`, of pairs only; none where no pair is poisoned."""
        found = judged(scores)
        if not len(found.positives) or len(found.reference):
            return []
        poisoned, total = scores["positive"].to_numpy(bool), len(found.positives)
        return [
            proportion(
                f"poison_recall_at_{percent(budget)}", READOUT, int((poisoned & removed(scores, budget)).sum()), total
            )
            for budget in BUDGETS
        ]
