"""Attack success rate (ASR): share of triggered samples, not of the target class, that are classified as the target.

As in Sahil Verma et al., arXiv:2311.14948.
Differs: samples of the target class are left out of numerator and denominator; published code counts all samples
(see attack_success_rate_inclusive).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from benchmark.metrics._outcomes import aimed
from benchmark.types import Card, Measure, Metric, proportion

if TYPE_CHECKING:
    import pandas as pd


class AttackSuccessRate(Metric):
    """#{i: y_i != t, predicted(triggered x_i) = t} / #{i: y_i != t}; t is the row's own target where it has one."""

    name: ClassVar[str] = "attack-success-rate"
    higher_is_better: ClassVar[bool | None] = False
    card: ClassVar[Card] = Card(
        title="Attack success rate",
        citation="arXiv:2311.14948",
        access="outputs",
        needs=frozenset({"trigger"}),
        summary="Share of triggered non-target samples classified as the target.",
    )

    def measure(self, outcomes: pd.DataFrame, *, target: int | None) -> list[Measure]:
        """One `attack_success_rate` per class read-out; none without a target or a triggered condition."""
        return [
            proportion("attack_success_rate", readout, int((predicted == aims).sum()), len(truth))
            for readout, truth, predicted, aims in aimed(outcomes, target=target)
        ]
