"""Metrics of detectors, and of retrieval, targeted poisoning, z-score and squash, against second implementations."""

from __future__ import annotations

import importlib
import math
import pkgutil
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from scipy.stats import binomtest, mannwhitneyu
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

import benchmark.metrics
from benchmark.errors import UserError
from benchmark.evaluation.measure import measures, score_measures
from benchmark.metrics.attack_success_rate import AttackSuccessRate
from benchmark.metrics.attack_success_rate_inclusive import AttackSuccessRateInclusive
from benchmark.metrics.auprc import AUPRC
from benchmark.metrics.auroc import AUROC
from benchmark.metrics.backdoor_z_score import BackdoorZScore
from benchmark.metrics.class_accuracy import ClassAccuracy
from benchmark.metrics.clean_accuracy import CleanAccuracy
from benchmark.metrics.fpr_at_tpr import FPRAtTPR
from benchmark.metrics.poison_recall import PoisonRecall
from benchmark.metrics.poisoned_accuracy import PoisonedAccuracy
from benchmark.metrics.poisons_left import PoisonsLeft
from benchmark.metrics.realised_fpr import RealisedFPR
from benchmark.metrics.retrieval_asr import RetrievalASR
from benchmark.metrics.retrieval_recall import RetrievalRecall
from benchmark.metrics.squash import Squash
from benchmark.metrics.target_rate import TargetRate
from benchmark.metrics.tdpa import TDPA
from benchmark.metrics.tdpa_rank import TDPARank
from benchmark.metrics.tpr_at_fpr import TPRAtFPR
from benchmark.store.schemas import OUTCOMES, SCORES
from benchmark.testing.check import check_method
from benchmark.types import Measure, Metric

pytestmark = pytest.mark.unit

OF_SCORES: tuple[Metric, ...] = (
    AUROC(), AUPRC(), TPRAtFPR(), RealisedFPR(), FPRAtTPR(), PoisonsLeft(), PoisonRecall(),
)  # fmt: skip
Scores = Sequence[float] | np.ndarray
OF_OUTCOMES: tuple[Metric, ...] = (RetrievalASR(), TDPA(), TDPARank(), BackdoorZScore(), Squash())


def score_table(clean: Scores, attacked: Scores = (), reference: Scores = ()) -> pa.Table:
    splits = [("reference", reference), ("clean", clean), ("attacked", attacked)]
    rows = [(split, split == "attacked", float(score)) for split, scores in splits for score in scores]
    columns = {
        "id": list(range(len(rows))),
        "split": [row[0] for row in rows],
        "positive": [row[1] for row in rows],
        "score": [row[2] for row in rows],
    }
    return pa.Table.from_pydict(columns, schema=SCORES)


def reduced(table: pa.Table) -> dict[str, Measure]:
    found = score_measures(table, metrics=[*OF_SCORES, *OF_OUTCOMES])
    return {measure.name: measure for measure in found}


def outcome_table(condition: str, readout: str, **columns: Any) -> pa.Table:
    count = len(next(iter(columns.values())))
    whole: Mapping[str, Any] = {
        "id": list(range(count)),
        "condition": [condition] * count,
        "readout": [readout] * count,
        "true_class": [0] * count,
        "predicted": [-1] * count,
        "target_rank": [-1] * count,
        "target": [-1] * count,
        "score": [0.0] * count,
    }
    return pa.Table.from_pydict(dict(whole) | columns, schema=OUTCOMES)


def keyed(found: Sequence[Measure]) -> dict[str, Measure]:
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


# --- scores ------------------------------------------------------------------------------------------------------


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


# --- outcomes ----------------------------------------------------------------------------------------------------


def test_retrieval_asr_against_a_count_of_captions() -> None:
    rng = np.random.default_rng(0)
    target_caption = rng.random((60, 10)) < 0.15  # of the ten captions that each image retrieves
    first = np.where(target_caption.any(1), target_caption.argmax(1), 10)
    table = outcome_table(
        "badnet", "retrieval_target", target_rank=first.tolist(), score=target_caption.mean(1).tolist()
    )
    found = keyed(measures([table], target=1, metrics=[RetrievalASR()]))
    for k in (1, 5, 10):
        assert found[f"retrieval_asr_at_{k}"].count == target_caption[:, :k].any(1).sum()
    assert found["retrieval_asr_majority_at_10"].count == (target_caption.sum(1) >= 5).sum()
    assert {measure.total for measure in found.values()} == {60}


def test_majority_is_at_least_half() -> None:
    table = outcome_table("badnet", "retrieval_target", target_rank=[0, 0], score=[0.5, 0.4])
    assert keyed(measures([table], target=1, metrics=[RetrievalASR()]))["retrieval_asr_majority_at_10"].count == 1


def test_tdpa_against_scipy() -> None:
    rng = np.random.default_rng(1)
    ranks = rng.integers(0, 9, 120)
    table = outcome_table("tdpa", "zero_shot", target_rank=ranks.tolist(), target=rng.integers(0, 10, 120).tolist())
    found = keyed(measures([table], target=None, metrics=[TDPA(), TDPARank()]))
    for k in (1, 3, 5):
        interval = binomtest(int((ranks < k).sum()), 120).proportion_ci(0.95, method="wilson")
        assert found[f"tdpa_success_at_{k}"].value == pytest.approx((ranks < k).mean())
        assert found[f"tdpa_success_at_{k}_low"].value == pytest.approx(interval.low)
        assert found[f"tdpa_success_at_{k}_high"].value == pytest.approx(interval.high)
    assert found["tdpa_mean_rank"].value == pytest.approx(ranks.mean())


@pytest.mark.parametrize("successes", [0, 16])
def test_wilson_at_the_ends(successes: int) -> None:
    ranks = [0] * successes + [9] * (16 - successes)
    table = outcome_table("tdpa", "zero_shot", target_rank=ranks, target=[3] * 16)
    found = keyed(measures([table], target=None, metrics=[TDPA()]))
    interval = binomtest(successes, 16).proportion_ci(0.95, method="wilson")
    assert found["tdpa_success_at_1_low"].value == pytest.approx(interval.low, abs=1e-12)
    assert found["tdpa_success_at_1_high"].value == pytest.approx(interval.high, abs=1e-12)


def test_a_trigger_has_no_victims() -> None:
    table = outcome_table("badnet", "zero_shot", target_rank=[0, 1], predicted=[1, 1])
    assert measures([table], target=1, metrics=[TDPA(), TDPARank()]) == []


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


def similarities(condition: str, embeddings: torch.Tensor) -> list[pa.Table]:
    """What an evaluation stores: for every image the mean cosine, and mean squared cosine, with all others."""
    cosine = embeddings @ embeddings.T
    others = cosine[~torch.eye(len(cosine), dtype=torch.bool)].view(len(cosine), -1)
    means = {"similarity": others.mean(1), "similarity_square": others.square().mean(1)}
    return [outcome_table(condition, name, score=value.tolist()) for name, value in means.items()]


@pytest.mark.parametrize("pull", [0.3, 3.0])
def test_backdoor_z_score_against_all_pairs(pull: float) -> None:
    generator = torch.Generator().manual_seed(0)
    clean = torch.randn(80, 16, generator=generator) + 1
    triggered = clean + pull * torch.randn(1, 16, generator=generator)
    clean, triggered = (torch.nn.functional.normalize(part, dim=1) for part in (clean, triggered))
    tables = [*similarities("clean", clean), *similarities("badnet", triggered)]
    found = keyed(measures(tables, target=1, metrics=[BackdoorZScore()]))

    whole, moved = ((part.double() @ part.double().T).numpy() for part in (clean, triggered))
    pairs = ~np.eye(80, dtype=bool)
    z = (moved[pairs].mean() - whole[pairs].mean()) / whole[pairs].std()
    assert found["backdoor_z_score"].value == pytest.approx(z, rel=1e-4)
    released = (moved.mean() - whole.mean()) / whole.var()  # with the diagonal, by the variance
    assert found["backdoor_z_score_variance"].value == pytest.approx(released, rel=1e-4)
    assert found["backdoor_z_score"].total == 80


def test_backdoor_z_score_needs_both_conditions_and_read_outs() -> None:
    clean = similarities("clean", torch.nn.functional.normalize(torch.rand(9, 4), dim=1))
    assert measures(clean, target=1, metrics=[BackdoorZScore()]) == []
    one = [*clean, outcome_table("badnet", "similarity", score=[0.5] * 9)]
    assert measures(one, target=1, metrics=[BackdoorZScore()]) == []


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


def test_read_outs_that_classify_nothing_are_no_classes() -> None:
    tables = [
        outcome_table(condition, readout, true_class=[0, 1], predicted=[-1, -1], target_rank=[0, 1], score=[0.5, 0.6])
        for condition in ("clean", "badnet")
        for readout in ("similarity", "similarity_square", "retrieval_target")
    ]
    metrics = [CleanAccuracy(), AttackSuccessRate(), PoisonedAccuracy(), ClassAccuracy(), RetrievalRecall(), TDPA()]
    assert measures(tables, target=1, metrics=metrics) == []


def test_each_metric_reduces_its_own_table() -> None:
    table = outcome_table("clean", "zero_shot", true_class=[0], predicted=[0])
    assert measures([table], target=1, metrics=OF_SCORES) == []
    assert score_measures(score_table([1.0], [2.0], [0.0]), metrics=[CleanAccuracy(), *OF_OUTCOMES]) == []


# --- contracts ---------------------------------------------------------------------------------------------------


def metric_classes() -> list[type[Metric]]:
    modules = [importlib.import_module(f"benchmark.metrics.{item.name}") for item in _files()]
    own = [
        value
        for module in modules
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Metric) and value.__module__ == module.__name__
    ]
    return sorted(own, key=lambda cls: cls.name)


def _files() -> list[pkgutil.ModuleInfo]:
    return list(pkgutil.iter_modules(benchmark.metrics.__path__))


@pytest.mark.parametrize("cls", metric_classes(), ids=lambda cls: cls.name)
def test_metrics_keep_their_contract(cls: type[Metric]) -> None:
    assert [result for result in check_method(cls) if not result.ok] == []


@pytest.mark.parametrize("metric", OF_SCORES, ids=lambda metric: metric.name)
def test_order_of_rows_does_not_matter(metric: Metric, sample: tuple[np.ndarray, ...]) -> None:
    clean, attacked, reference = sample
    for frame in (score_table(clean, attacked, reference).to_pandas(), score_table(clean, attacked).to_pandas()):
        before: pd.DataFrame = frame.copy(deep=True)
        found = metric.measure(frame, target=None)
        pd.testing.assert_frame_equal(frame, before)
        assert metric.measure(frame.sample(frac=1, random_state=1), target=None) == found
