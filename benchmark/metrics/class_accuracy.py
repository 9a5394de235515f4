"""Accuracy of each class on clean samples, and of the worst class: a repair may erase the target class.

Part of Backstop's own utility profile.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import pandas as pd

from benchmark.metrics._outcomes import classified
from benchmark.types import Card, Measure, Metric, proportion


class ClassAccuracy(Metric):
    """For each class k: #{i: y_i = k, predicted(x_i) = k} / #{i: y_i = k}."""

    name: ClassVar[str] = "class-accuracy"
    higher_is_better: ClassVar[bool | None] = True
    card: ClassVar[Card] = Card(
        title="Accuracy per class",
        citation="Backstop",
        access="outputs",
        summary="Clean top-1 accuracy of each class, and of the worst one.",
    )

    def measure(self, outcomes: pd.DataFrame, *, target: int | None) -> list[Measure]:
        """`class_accuracy/<class index>` for each class that has samples, and `worst_class_accuracy`, per read-out."""
        found = []
        for readout, truth, predicted in classified(outcomes):
            totals = np.bincount(truth)
            hits = np.bincount(truth[predicted == truth], minlength=len(totals))
            classes = [
                proportion(f"class_accuracy/{index}", readout, int(hits[index]), int(totals[index]))
                for index in np.flatnonzero(totals)
            ]
            worst = min(classes, key=lambda measure: measure.value)  # the first of equals
            found += [*classes, worst._replace(name="worst_class_accuracy")]
        return found
