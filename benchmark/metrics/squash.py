"""Squash control: clean accuracy and target rate under the geometry of the released triggers, without a trigger.

Released code squashes a whole image to the model's size before it stamps it, but crops clean ones, so that geometry
changes with the trigger (CleanCLIP, arXiv:2303.03323, and its forks; Backstop's protocol, section 5). Read from rows of
the condition "squash"; for images that are of the model's size already it equals the clean condition.
"""

from __future__ import annotations

from typing import ClassVar

import pandas as pd

from benchmark.metrics._outcomes import aimed, classified
from benchmark.types import Card, Measure, Metric, proportion
from benchmark.types.readouts import SQUASH


class Squash(Metric):
    """#{i: predicted(squashed x_i) = y_i} / |D|, and #{i: y_i != t, predicted(squashed x_i) = t} / #{i: y_i != t}."""

    name: ClassVar[str] = "squash"
    card: ClassVar[Card] = Card(
        title="Squash control",
        citation="arXiv:2303.03323",
        access="outputs",
        summary="Clean accuracy and target rate with the geometry of released triggers, and no trigger.",
    )

    def measure(self, outcomes: pd.DataFrame, *, target: int | None) -> list[Measure]:
        """`clean_accuracy_squash` and, with a target, `target_rate_squash` per class read-out; none without that."""
        accuracy = [
            proportion("clean_accuracy_squash", readout, int((predicted == truth).sum()), len(truth))
            for readout, truth, predicted in classified(outcomes, shown=SQUASH)
        ]
        rate = [
            proportion("target_rate_squash", readout, int((predicted == aims).sum()), len(truth))
            for readout, truth, predicted, aims in aimed(outcomes, target=target, shown=SQUASH)
        ]
        return accuracy + rate
