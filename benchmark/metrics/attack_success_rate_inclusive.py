"""Inclusive attack success rate: share of all triggered samples, the target class among them, classified as the target.

As in the released code of CleanCLIP (arXiv:2303.03323) and its forks, which count every test sample.
Stored to compare with published numbers, never ranked: samples of the target class count as successes.
"""

from __future__ import annotations

from typing import ClassVar

import pandas as pd

from benchmark.metrics._outcomes import aimed
from benchmark.types import Card, Measure, Metric, proportion


class AttackSuccessRateInclusive(Metric):
    """#{i in D: predicted(triggered x_i) = t} / |D|."""

    name: ClassVar[str] = "attack-success-rate-inclusive"
    higher_is_better: ClassVar[bool | None] = False
    card: ClassVar[Card] = Card(
        title="Attack success rate, all classes",
        citation="arXiv:2303.03323",
        access="outputs",
        needs=frozenset({"trigger"}),
        summary="Share of all triggered samples classified as the target; never ranked.",
    )

    def measure(self, outcomes: pd.DataFrame, *, target: int | None) -> list[Measure]:
        """One `attack_success_rate_inclusive` per class read-out; none without a target or a triggered condition."""
        return [
            proportion("attack_success_rate_inclusive", readout, int((predicted == aims).sum()), len(truth))
            for readout, truth, predicted, aims in aimed(outcomes, target=target, inclusive=True)
        ]
