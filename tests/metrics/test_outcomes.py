"""Metrics of outcomes by hand and against scikit-learn; denominators; which samples count."""

from __future__ import annotations

import math

import numpy as np
import pyarrow as pa
import pytest
from sklearn.metrics import (
    accuracy_score,
    confusion_matrix,
    recall_score,
    top_k_accuracy_score,
)

from benchmark.config import registry
from benchmark.errors import UserError
from benchmark.evaluation.measure import measures
from benchmark.metrics.attack_success_rate import AttackSuccessRate
from benchmark.metrics.attack_success_rate_inclusive import AttackSuccessRateInclusive
from benchmark.metrics.class_accuracy import ClassAccuracy
from benchmark.metrics.clean_accuracy import CleanAccuracy
from benchmark.metrics.poisoned_accuracy import PoisonedAccuracy
from benchmark.metrics.retrieval_recall import RetrievalRecall
from benchmark.metrics.target_rate import TargetRate
from benchmark.metrics.tdpa import TDPA
from benchmark.types import Measure, Metric
from tests.helpers.metrics import keyed, outcome_table


def test_rows_with_a_target_of_their_own_are_judged_by_it() -> None:
    victims = outcome_table(
        "tdpa", "zero_shot", true_class=[0, 1, 2, 2], predicted=[3, 1, 2, 2], target=[3, 0, 2, 1], target_rank=[0] * 4
    )
    clean = outcome_table("clean", "zero_shot", true_class=[0, 1], predicted=[0, 0])
    metrics = [AttackSuccessRate(), AttackSuccessRateInclusive(), PoisonedAccuracy(), TargetRate()]
    found = keyed(measures([clean, victims], target=None, metrics=metrics))
    assert {name: (item.count, item.total) for name, item in found.items()} == {
        "attack_success_rate": (1, 3),  # the third victim is of its target's class
        "attack_success_rate_inclusive": (2, 4),
        "poisoned_accuracy": (2, 3),
    }
    # rows without one fall back on the attack's target
    mixed = outcome_table("x", "zero_shot", true_class=[0, 0, 1], predicted=[3, 1, 1], target=[3, -1, -1])
    found = keyed(measures([mixed], target=1, metrics=metrics))
    assert (found["attack_success_rate"].count, found["attack_success_rate"].total) == (2, 2)
    found = keyed(measures([mixed], target=None, metrics=metrics))
    assert (found["attack_success_rate"].count, found["attack_success_rate"].total) == (1, 1)


def test_read_outs_that_classify_nothing_are_no_classes() -> None:
    tables = [
        outcome_table(condition, readout, true_class=[0, 1], predicted=[-1, -1], target_rank=[0, 1], score=[0.5, 0.6])
        for condition in ("clean", "badnet")
        for readout in ("similarity", "similarity_square", "retrieval_target")
    ]
    metrics = [CleanAccuracy(), AttackSuccessRate(), PoisonedAccuracy(), ClassAccuracy(), RetrievalRecall(), TDPA()]
    assert measures(tables, target=1, metrics=metrics) == []


METRICS: tuple[Metric, ...] = (
    CleanAccuracy(),
    AttackSuccessRate(),
    AttackSuccessRateInclusive(),
    PoisonedAccuracy(),
    ClassAccuracy(),
    RetrievalRecall(),
    TargetRate(),
)


def table(
    condition: str, readout: str, truth: list[int], predicted: list[int], rank: list[int] | None = None
) -> pa.Table:
    return outcome_table(
        condition, readout, true_class=truth, predicted=predicted, target_rank=rank or [0] * len(truth)
    )


def by_name(found: list[Measure]) -> dict[tuple[str, str], Measure]:
    keyed = {(measure.name, measure.readout): measure for measure in found}
    assert len(keyed) == len(found)
    return keyed


# target is class 1; the fourth and fifth sample are of the target class
TRUTH = [0, 0, 2, 1, 1, 2]
CLEAN = table("clean", "zero_shot", TRUTH, [0, 1, 2, 1, 0, 0])


TRIGGERED = table("badnet", "zero_shot", TRUTH, [1, 1, 2, 1, 1, 0])


def test_hand_values() -> None:
    found = by_name(measures([CLEAN, TRIGGERED], target=1, metrics=METRICS))
    pairs = {name: (measure.count, measure.total) for (name, _), measure in found.items()}
    assert pairs == {
        "clean_accuracy": (3, 6),
        "attack_success_rate": (2, 4),  # both samples of the target class are left out
        "attack_success_rate_inclusive": (4, 6),
        "poisoned_accuracy": (1, 4),
        "target_rate": (1, 4),
        "class_accuracy/0": (1, 2),
        "class_accuracy/1": (1, 2),
        "class_accuracy/2": (1, 2),
        "worst_class_accuracy": (1, 2),
    }
    assert all(measure.value == measure.count / measure.total for measure in found.values())
    assert {readout for _, readout in found} == {"zero_shot"}


def test_against_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    truth, clean, triggered = rng.integers(0, 7, (3, 500)).tolist()
    found = by_name(
        measures([table("clean", "knn", truth, clean), table("x", "knn", truth, triggered)], target=4, metrics=METRICS)
    )
    others = np.array(truth) != 4
    assert found["clean_accuracy", "knn"].value == pytest.approx(accuracy_score(truth, clean))
    recalls = recall_score(truth, clean, average=None)
    for index, recall in enumerate(recalls):
        assert found[f"class_accuracy/{index}", "knn"].value == pytest.approx(recall)
    assert found["worst_class_accuracy", "knn"].value == pytest.approx(min(recalls))
    matrix = confusion_matrix(truth, triggered)
    assert found["attack_success_rate", "knn"].count == matrix[:, 4].sum() - matrix[4, 4]
    assert found["attack_success_rate", "knn"].total == others.sum()
    assert found["attack_success_rate_inclusive", "knn"].value == pytest.approx(matrix[:, 4].sum() / 500)
    assert found["poisoned_accuracy", "knn"].value == pytest.approx(
        accuracy_score(np.array(truth)[others], np.array(triggered)[others])
    )
    assert found["target_rate", "knn"].value == pytest.approx((np.array(clean)[others] == 4).mean())


def test_retrieval_recall_against_scikit_learn() -> None:
    similarity = np.random.default_rng(1).normal(size=(40, 40)) + 1.5 * np.eye(40)
    ranks = (similarity > similarity.diagonal()[:, None]).sum(axis=1).tolist()
    partners = list(range(40))
    retrieval = table("clean", "retrieval_image_to_text", partners, similarity.argmax(axis=1).tolist(), ranks)
    found = by_name(measures([retrieval, CLEAN], target=None, metrics=[RetrievalRecall()]))
    assert set(found) == {(f"recall_at_{k}", "retrieval_image_to_text") for k in (1, 5, 10)}
    for k in (1, 5, 10):
        expected = top_k_accuracy_score(partners, similarity, k=k)
        assert found[f"recall_at_{k}", "retrieval_image_to_text"].value == pytest.approx(expected)
        assert found[f"recall_at_{k}", "retrieval_image_to_text"].total == 40


def test_each_readout_has_its_own_measure_and_retrieval_is_no_class() -> None:
    tables = [CLEAN, table("clean", "probe", TRUTH, TRUTH), table("clean", "retrieval_text_to_image", [0, 1], [1, 0])]
    found = CleanAccuracy().measure(pa.concat_tables(tables).to_pandas(), target=None)
    assert [(measure.readout, measure.value) for measure in found] == [("zero_shot", 0.5), ("probe", 1.0)]


def test_without_attack_only_clean_measures() -> None:
    found = measures([CLEAN], target=None, metrics=METRICS)
    assert {measure.name.split("/")[0] for measure in found} == {
        "clean_accuracy",
        "class_accuracy",
        "worst_class_accuracy",
    }


def test_unlabelled_rows_do_not_count() -> None:
    found = by_name(
        measures(
            [table("clean", "probe", [-1, 0, 1], [0, 0, 0]), table("b", "probe", [-1, 0, 1], [1, 1, 1])],
            target=1,
            metrics=METRICS,
        )
    )
    assert found["clean_accuracy", "probe"].total == 2
    assert (found["attack_success_rate", "probe"].count, found["attack_success_rate", "probe"].total) == (1, 1)


def test_only_target_class_gives_an_empty_denominator() -> None:
    found = AttackSuccessRate().measure(table("b", "probe", [1, 1], [1, 1]).to_pandas(), target=1)
    assert found[0].total == 0
    assert math.isnan(found[0].value)


def test_two_triggers_in_one_reduction_are_refused() -> None:
    with pytest.raises(UserError, match="at most one trigger"):
        measures([CLEAN, TRIGGERED, table("blended", "zero_shot", TRUTH, TRUTH)], target=1, metrics=METRICS)


def test_measures_read_the_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    classes = {metric.name: type(metric) for metric in METRICS}
    monkeypatch.setattr(registry, "names", lambda kind: sorted(classes) if kind == "metric" else [])
    monkeypatch.setattr(registry, "method", lambda kind, name: classes[name])
    registered = measures([CLEAN, TRIGGERED], target=1)
    given = measures([CLEAN, TRIGGERED], target=1, metrics=METRICS)
    assert len(registered) == 9
    assert sorted(registered) == sorted(given)
