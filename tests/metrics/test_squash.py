"""Squash is read by its own metric alone."""

from __future__ import annotations

import pytest

from benchmark.evaluation.measure import measures
from benchmark.metrics.attack_success_rate import AttackSuccessRate
from benchmark.metrics.attack_success_rate_inclusive import AttackSuccessRateInclusive
from benchmark.metrics.class_accuracy import ClassAccuracy
from benchmark.metrics.clean_accuracy import CleanAccuracy
from benchmark.metrics.poisoned_accuracy import PoisonedAccuracy
from benchmark.metrics.retrieval_recall import RetrievalRecall
from benchmark.metrics.squash import Squash
from benchmark.metrics.target_rate import TargetRate
from benchmark.types import Metric
from tests.helpers.metrics import keyed, outcome_table

pytestmark = pytest.mark.unit


def test_squash_is_read_by_its_own_metric_alone() -> None:
    clean = outcome_table("clean", "zero_shot", true_class=[0, 1, 2], predicted=[0, 1, 2])
    triggered = outcome_table("badnet", "zero_shot", true_class=[0, 1, 2], predicted=[1, 1, 1])
    squashed = outcome_table("squash", "zero_shot", true_class=[0, 1, 2], predicted=[0, 0, 1])
    metrics: list[Metric] = [
        CleanAccuracy(), AttackSuccessRate(), AttackSuccessRateInclusive(), PoisonedAccuracy(), TargetRate(),
        ClassAccuracy(), RetrievalRecall(),
    ]  # fmt: skip
    without = measures([clean, triggered], target=1, metrics=metrics)
    assert measures([squashed, clean, triggered], target=1, metrics=metrics) == without
    found = keyed(measures([squashed, clean, triggered], target=1, metrics=[Squash()]))
    assert (found["clean_accuracy_squash"].count, found["clean_accuracy_squash"].total) == (1, 3)
    assert (found["target_rate_squash"].count, found["target_rate_squash"].total) == (1, 2)
    assert set(keyed(measures([squashed, clean], target=None, metrics=[Squash()]))) == {"clean_accuracy_squash"}
    assert measures([clean, triggered], target=1, metrics=[Squash()]) == []
