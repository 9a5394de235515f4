"""Metrics of scores against scikit-learn, scipy and by hand; which samples count."""

from __future__ import annotations

import math
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from scipy.stats import mannwhitneyu
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

from benchmark.errors import UserError
from benchmark.evaluation.measure import measures, score_measures
from benchmark.metrics.auroc import AUROC
from benchmark.metrics.clean_accuracy import CleanAccuracy
from benchmark.types import Card, Measure, Metric
from tests.helpers.metrics import OF_OUTCOMES, OF_SCORES, outcome_table, score_table

pytestmark = pytest.mark.unit


def reduced(table: pa.Table) -> dict[str, Measure]:
    found = score_measures(table, metrics=[*OF_SCORES, *OF_OUTCOMES])
    return {measure.name: measure for measure in found}


@pytest.fixture(params=["spread", "ties"])
def sample(request: pytest.FixtureRequest) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Clean, attacked and reference scores; the second sort has a tenth of as many distinct values."""
    rng = np.random.default_rng(3)
    parts = [rng.normal(0, 1, 400), rng.normal(1.2, 1.5, 150), rng.normal(0, 1, 230)]
    if request.param == "ties":
        parts = [np.round(part * 2) / 2 for part in parts]
    clean, attacked, reference = (part.astype(np.float32) for part in parts)
    return clean, attacked, reference


def test_auroc_against_scikit_learn_and_mann_whitney(sample: tuple[np.ndarray, ...]) -> None:
    clean, attacked, reference = sample
    found = reduced(score_table(clean, attacked, reference))["auroc"]
    truth = np.r_[np.zeros(len(clean)), np.ones(len(attacked))]
    assert found.value == pytest.approx(roc_auc_score(truth, np.r_[clean, attacked]))
    assert found.value == pytest.approx(mannwhitneyu(attacked, clean).statistic / (len(clean) * len(attacked)))
    assert (found.count, found.total) == (-1, 550)


@pytest.mark.parametrize(("name", "base"), [("0.01pct", 1e-4), ("0.1pct", 1e-3), ("1pct", 1e-2)])
def test_auprc_against_scikit_learn(sample: tuple[np.ndarray, ...], name: str, base: float) -> None:
    clean, attacked, reference = sample
    truth = np.r_[np.zeros(len(clean)), np.ones(len(attacked))]
    weights = np.where(truth == 1, base / len(attacked), (1 - base) / len(clean))
    wanted = average_precision_score(truth, np.r_[clean, attacked], sample_weight=weights)
    assert reduced(score_table(clean, attacked, reference))[f"auprc_at_{name}"].value == pytest.approx(wanted)


def test_auprc_by_hand() -> None:
    # at recall 1/2 precision is 1; at recall 1, with a third of the clean samples above, b / (b + (1 - b) / 3)
    found = reduced(score_table([0.0, 0.0, 2.0], [1.0, 3.0]))["auprc_at_1pct"]
    assert found.value == pytest.approx(0.5 * 1 + 0.5 * 0.01 / (0.01 + 0.99 / 3))


def test_threshold_comes_from_references_alone() -> None:
    reference = np.arange(200.0)  # two of 200 may lie above: the threshold is 197
    found = reduced(score_table([0, 197, 198, 500], [197, 197.5, 900, 901, 902], reference))
    assert (found["tpr_at_1pct_fpr"].count, found["tpr_at_1pct_fpr"].total) == (4, 5)
    assert (found["realised_fpr_at_1pct"].count, found["realised_fpr_at_1pct"].total) == (2, 4)


def test_threshold_keeps_its_rate_on_the_references(sample: tuple[np.ndarray, ...]) -> None:
    _, attacked, reference = sample
    found = reduced(score_table(reference, attacked, reference))  # clean samples are the references themselves
    assert found["realised_fpr_at_1pct"].value <= 0.01
    level = np.quantile(reference, 0.99, method="higher")  # the same by numpy, where nothing ties
    if len(np.unique(reference)) == len(reference):
        assert found["tpr_at_1pct_fpr"].value == pytest.approx((attacked > level).mean())


def test_few_references_allow_no_false_alarm() -> None:
    found = reduced(score_table([4.0, 5.0], [3.0, 6.0], [1.0, 5.0]))
    assert (found["tpr_at_1pct_fpr"].count, found["realised_fpr_at_1pct"].count) == (1, 0)


def test_fpr_at_tpr_against_scikit_learn(sample: tuple[np.ndarray, ...]) -> None:
    clean, attacked, reference = sample
    truth = np.r_[np.zeros(len(clean)), np.ones(len(attacked))]
    false, true, _ = roc_curve(truth, np.r_[clean, attacked], drop_intermediate=False)
    wanted = false[true >= 0.95 - 1e-12].min()
    assert reduced(score_table(clean, attacked, reference))["fpr_at_95pct_tpr"].value == pytest.approx(wanted)


def test_poisons_left_by_hand() -> None:
    scores = np.arange(1000.0)  # 990 clean pairs, and ten poisoned ones
    found = reduced(score_table(scores[:990], [999, 998, 997, 990, 960, 949.5, 5, 6, 7, 8]))
    assert {name: (item.value, item.total) for name, item in found.items() if name.startswith("poisons_left")} == {
        "poisons_left_at_0.1pct": (9.0, 10),  # one pair removed
        "poisons_left_at_1pct": (6.0, 10),  # ten: four of them and 984 to 989
        "poisons_left_at_5pct": (4.0, 10),  # fifty: six of them and 946 to 989
    }
    for budget in ("0.1pct", "1pct", "5pct"):
        left, recall = found[f"poisons_left_at_{budget}"], found[f"poison_recall_at_{budget}"]
        assert recall.value == pytest.approx(1 - left.value / left.total)


def test_of_equal_scores_the_lower_id_is_removed_first() -> None:
    table = score_table([1.0] * 95, [1.0] * 5)  # poisoned pairs have the highest ids
    assert reduced(table)["poisons_left_at_5pct"].value == 5
    shuffled = table.take(np.random.default_rng(0).permutation(100))
    assert reduced(shuffled)["poisons_left_at_5pct"].value == 5


def test_which_metrics_apply() -> None:
    twin = reduced(score_table([1.0, 2.0], reference=[0.0, 3.0]))
    assert set(twin) == {"realised_fpr_at_1pct"}  # false alarms of a clean model
    pairs = set(reduced(score_table([1.0, 2.0], [3.0])))
    assert not {"tpr_at_1pct_fpr", "realised_fpr_at_1pct"} & pairs
    images = set(reduced(score_table([1.0, 2.0], [3.0], [0.0])))
    assert not {"poisons_left_at_1pct", "poison_recall_at_1pct"} & images
    assert {"auroc", "fpr_at_95pct_tpr", "auprc_at_1pct"} <= pairs & images


def test_scores_that_are_no_numbers_are_refused() -> None:
    with pytest.raises(UserError, match=r"scores must be finite, got nan; see id 1 and mend the detector"):
        score_measures(score_table([1.0, math.nan], [2.0]), metrics=OF_SCORES)


def test_a_reversed_detector_reads_as_its_mirror() -> None:
    rng = np.random.default_rng(0)
    clean, attacked = rng.normal(0, 1, 50), rng.normal(2, 1, 50)
    right = reduced(score_table(clean, attacked))["auroc"].value
    wrong = reduced(score_table(-clean, -attacked))["auroc"].value
    assert right > 0.8
    assert wrong == pytest.approx(1 - right)


def test_each_metric_reduces_its_own_table() -> None:
    table = outcome_table("clean", "zero_shot", true_class=[0], predicted=[0])
    assert measures([table], target=1, metrics=OF_SCORES) == []
    assert score_measures(score_table([1.0], [2.0], [0.0]), metrics=[CleanAccuracy(), *OF_OUTCOMES]) == []


@pytest.mark.parametrize("metric", OF_SCORES, ids=lambda metric: metric.name)
def test_order_of_rows_does_not_matter(metric: Metric, sample: tuple[np.ndarray, ...]) -> None:
    clean, attacked, reference = sample
    for frame in (score_table(clean, attacked, reference).to_pandas(), score_table(clean, attacked).to_pandas()):
        before: pd.DataFrame = frame.copy(deep=True)
        found = metric.measure(frame, target=None)
        pd.testing.assert_frame_equal(frame, before)
        assert metric.measure(frame.sample(frac=1, random_state=1), target=None) == found


def number(value: Any) -> Measure:
    return Measure("auroc", "scores", value, -1, 3)


class OffBounds(Metric):
    """Gives what it is told to."""

    name: ClassVar[str] = "off-bounds"
    card: ClassVar[Card] = AUROC.card
    of: ClassVar[Literal["outcomes", "scores"]] = "scores"
    given: Any = None

    def measure(self, table: Any, /, *, target: int | None) -> list[Measure]:
        return [self.given]


@pytest.mark.parametrize("given", [number(1.2), number("1"), 0.5])
def test_a_metric_that_breaks_its_word_is_a_failure(given: Any) -> None:
    table = score_table([1.0], [2.0])
    with pytest.raises(ValueError, match=r"metric off-bounds must give measures with values from 0 to 1, got"):
        score_measures(table, metrics=[OffBounds(given=given)])
    for value in (1.0, math.nan, np.float32(0.5)):
        (found,) = score_measures(table, metrics=[OffBounds(given=number(value))])
        assert found.metric == "off-bounds"
