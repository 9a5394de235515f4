"""Poisons left: how many poisoned pairs remain once the most suspicious 0.1, 1 or 5 % of all pairs are removed.

An absolute number, because five poisons in 100,000 clean pairs defeat CleanCLIP (Sahil Verma et al.,
arXiv:2311.14948); Backstop's protocol, section 6. The share that was found is `poison_recall`.
"""

from __future__ import annotations

import math
from typing import ClassVar, Literal

import pandas as pd

from benchmark.metrics._scores import READOUT, judged, percent, removed
from benchmark.types import Card, Measure, Metric

BUDGETS = (0.001, 0.01, 0.05)


class PoisonsLeft(Metric):
    """#{poisoned pairs that are not among the share b of all pairs with the highest scores}."""

    name: ClassVar[str] = "poisons-left"
    of: ClassVar[Literal["outcomes", "scores"]] = "scores"
    unit: ClassVar[str] = "pairs"
    bounds: ClassVar[tuple[float, float]] = (0.0, math.inf)
    higher_is_better: ClassVar[bool | None] = False
    card: ClassVar[Card] = Card(
        title="Poisons left",
        citation="arXiv:2311.14948",
        access="outputs",
        summary="Poisoned pairs that remain after the most suspicious 0.1, 1 and 5 % of the pairs are removed.",
    )

    def measure(self, scores: pd.DataFrame, *, target: int | None) -> list[Measure]:
        """`poisons_left_at_0.1pct`, `…_1pct`, `…_5pct`, of pairs only; none where no pair is poisoned."""
        found = judged(scores)
        if not len(found.positives) or len(found.reference):
            return []
        poisoned = scores["positive"].to_numpy(bool)
        return [
            Measure(
                f"poisons_left_at_{percent(budget)}",
                READOUT,
                float((poisoned & ~removed(scores, budget)).sum()),
                -1,
                len(found.positives),
            )
            for budget in BUDGETS
        ]
