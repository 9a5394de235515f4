"""TDPA success: share of chosen images that are taken for the label that their attacker chose, at top 1, 3 and 5.

Targeted data poisoning, Nicholas Carlini and Andreas Terzis, arXiv:2106.09667, section 3; as in SafeCLIP and RoCLIP.
Differs: at least 100 pairs of image and label are asked for (the papers use 16, steps of 6 points), and each share has
its 95 % Wilson interval beside it.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import pandas as pd

from benchmark.metrics._outcomes import TRIGGERED, by_readout
from benchmark.stats import wilson
from benchmark.types import Card, Measure, Metric, proportion


class TDPA(Metric):
    """#{victims: the adversarial label is among the top k classes} / #victims."""

    name: ClassVar[str] = "tdpa"
    higher_is_better: ClassVar[bool | None] = False
    card: ClassVar[Card] = Card(
        title="Targeted poisoning success",
        citation="arXiv:2106.09667",
        access="outputs",
        summary="Share of victims whose adversarial label is among the first 1, 3 or 5, with Wilson intervals.",
    )

    def measure(self, outcomes: pd.DataFrame, *, target: int | None) -> list[Measure]:
        """`tdpa_success_at_k`, and `…_low`, `…_high` of its interval, per class read-out with victims."""
        found = []
        for readout, ranks in victim_ranks(outcomes).items():
            for k in (1, 3, 5):
                share = proportion(f"tdpa_success_at_{k}", readout, int((ranks < k).sum()), len(ranks))
                interval = wilson(share.count, share.total)
                bounds = [share._replace(name=f"{share.name}_{side}", count=-1) for side in interval._fields]
                bounds = [bound._replace(value=value) for bound, value in zip(bounds, interval, strict=True)]
                found += [share, *bounds]
        return found


def victim_ranks(outcomes: pd.DataFrame) -> dict[str, np.ndarray]:
    """Read-out -> (V,) int32 rank of the adversarial label, 0 = top, over rows that name a target of their own."""
    ranks, own = outcomes["target_rank"].to_numpy(), outcomes["target"].to_numpy()
    found = {readout: rows[own[rows] >= 0] for readout, rows in by_readout(outcomes, shown=TRIGGERED)}
    return {readout: ranks[rows] for readout, rows in found.items() if len(rows)}
