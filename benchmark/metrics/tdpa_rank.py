"""TDPA rank: mean rank of the adversarial label among all classes, over the victims; 0 = top.

Beside the success of targeted data poisoning (Carlini and Terzis, arXiv:2106.09667): it moves before success does.
"""

from __future__ import annotations

import math
from typing import ClassVar

import pandas as pd

from benchmark.metrics.tdpa import victim_ranks
from benchmark.types import Card, Measure, Metric


class TDPARank(Metric):
    """Mean over victims of #{classes that score above the adversarial label}."""

    name: ClassVar[str] = "tdpa-rank"
    unit: ClassVar[str] = "classes"
    bounds: ClassVar[tuple[float, float]] = (0.0, math.inf)
    higher_is_better: ClassVar[bool | None] = True
    card: ClassVar[Card] = Card(
        title="Targeted poisoning rank",
        citation="arXiv:2106.09667",
        access="outputs",
        summary="Mean rank of the adversarial label over the victims, 0 = top.",
    )

    def measure(self, outcomes: pd.DataFrame, *, target: int | None) -> list[Measure]:
        """`tdpa_mean_rank` per class read-out with victims."""
        return [
            Measure("tdpa_mean_rank", readout, float(ranks.mean()), -1, len(ranks))
            for readout, ranks in victim_ranks(outcomes).items()
        ]
