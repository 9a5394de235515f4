"""Wilson intervals and the repair gap, against SciPy and by hand."""

from __future__ import annotations

import math

import pandas as pd
import pytest

from reports.statistics import relative_change, repair_gap

OBJECTIVES = ("mmcl", "mmcl-ssl")


def cells(rows: list[tuple]) -> pd.DataFrame:
    """Rows of (objective, attack, seed, repair, selection, status, count) on 1,000 test images."""
    columns = ["objective", "attack", "seed", "repair", "selection", "status", "clean_accuracy_count"]
    frame = pd.DataFrame(rows, columns=columns)
    frame["clean_accuracy_total"] = 1000.0
    frame["clean_accuracy"] = frame["clean_accuracy_count"] / 1000
    return frame


def pair(attack: str, seed: int, first: tuple[float, float], second: tuple[float, float], **status: str) -> list[tuple]:
    """The four rows behind one pair: (undefended, oracle) counts for both objectives."""
    rows = []
    for objective, (undefended, oracle) in zip(OBJECTIVES, (first, second), strict=True):
        where = (objective, attack, seed)
        rows.append((*where, "none", "undefended", status.get("planted", "ok"), undefended))
        rows.append((*where, "cleanclip", "oracle", status.get(objective.replace("-", "_"), "ok"), oracle))
    return rows


def gap_of(rows: list[tuple]):
    return repair_gap(cells(rows), repair="cleanclip", objectives=OBJECTIVES)


def test_relative_change_by_hand() -> None:
    change = relative_change((400, 1000), (800, 1000))
    assert change.value == pytest.approx(-0.5)
    # q(1-q)/(n p²) + q²(1-p)/(n p³) with q = 0.4, p = 0.8
    assert change.variance == pytest.approx(0.24 / 640 + 0.16 * 0.2 / 512)


def test_relative_change_variance_agrees_with_simulation() -> None:
    import numpy as np

    rng = np.random.default_rng(7)
    draws = rng.binomial(2000, 0.55, 20_000) / rng.binomial(2000, 0.7, 20_000) - 1
    assert relative_change((1100, 2000), (1400, 2000)).variance == pytest.approx(draws.var(), rel=0.05)


def test_one_seed_by_hand() -> None:
    gap = gap_of(pair("badnet", 0, (800, 760), (800, 600)) + pair("blended", 0, (800, 800), (500, 450)))
    # −5 % − (−25 %) = 20 points and 0 % − (−10 %) = 10 points
    assert gap.by_attack["badnet"].estimate == pytest.approx(0.20)
    assert gap.by_attack["blended"].estimate == pytest.approx(0.10)
    assert gap.overall.estimate == pytest.approx(0.15)
    assert gap.overall.first == pytest.approx(-0.025)
    assert "test-sample noise only (one seed)" in gap.overall.basis
    widths = [part.interval.high - part.estimate for part in gap.by_attack.values() if part.interval]
    assert gap.overall.interval is not None
    # attacks share their test images, so averaging over them narrows nothing
    assert gap.overall.interval.high - gap.overall.estimate == pytest.approx(sum(widths) / 2)


def test_no_point_within_the_bound_counts_as_minus_hundred_percent() -> None:
    gap = gap_of(pair("badnet", 0, (800, 760), (800, 0), mmcl_ssl="repair_failed"))
    assert gap.overall.second == -1.0
    assert gap.overall.estimate == pytest.approx(0.95)
    assert gap.pairs[0].second.by_rule
    only_first = 1.959964 * math.sqrt(relative_change((760, 1000), (800, 1000)).variance)
    assert gap.overall.interval == pytest.approx((0.95 - only_first, 0.95 + only_first))


def test_two_values_set_by_rule_have_no_interval() -> None:
    gap = gap_of(pair("badnet", 0, (800, 0), (800, 0), mmcl="repair_failed", mmcl_ssl="repair_failed"))
    assert gap.overall.estimate == 0.0
    assert gap.overall.interval is None
    assert "by the −100 % rule" in gap.overall.basis


def test_several_seeds_give_a_t_interval_of_paired_differences() -> None:
    rows = []
    for seed, lost in enumerate((100, 140, 240)):
        rows += pair("badnet", seed, (800, 800), (800, 800 - lost)) + pair("blended", seed, (500, 500), (500, 500))
    gap = gap_of(rows)
    by_seed = [lost / 800 / 2 for lost in (100, 140, 240)]  # mean over the two attacks
    mean = sum(by_seed) / 3
    sd = math.sqrt(sum((value - mean) ** 2 for value in by_seed) / 2)
    assert gap.overall.estimate == pytest.approx(mean)
    assert gap.overall.interval == pytest.approx((mean - 4.302653 * sd / 3**0.5, mean + 4.302653 * sd / 3**0.5))
    assert "t-interval over 3 seeds" in gap.overall.basis


def test_an_attack_that_not_every_seed_has_stays_out_of_the_mean() -> None:
    rows = pair("badnet", 0, (800, 760), (800, 600)) + pair("badnet", 1, (800, 760), (800, 560))
    rows += pair("blended", 0, (800, 800), (800, 80))
    gap = gap_of(rows)
    assert gap.overall.estimate == pytest.approx((0.20 + 0.25) / 2)
    assert {pair.attack for pair in gap.used} == {"badnet"}
    assert gap.by_attack["blended"].estimate == pytest.approx(0.9)


def test_seeds_without_a_common_attack_give_no_interval() -> None:
    gap = gap_of(pair("badnet", 0, (800, 760), (800, 600)) + pair("blended", 1, (800, 760), (800, 560)))
    assert gap.overall.interval is None
    assert "no attack is finished for every seed" in gap.overall.basis


@pytest.mark.parametrize("status", ["attack_did_not_plant", "failed", "missing", "out_of_memory", "timed_out"])
def test_cells_that_are_not_finished_or_planted_do_not_count(status: str) -> None:
    good = pair("badnet", 0, (800, 760), (800, 600))
    gap = gap_of(good + pair("blended", 0, (800, 10), (800, 700), mmcl=status))
    assert gap.overall.estimate == pytest.approx(0.20)
    assert math.isnan(gap.by_attack["blended"].estimate)
    assert gap.pairs[1].first.reason == status


def test_an_undefended_model_that_did_not_plant_takes_its_repairs_along() -> None:
    gap = gap_of(pair("badnet", 0, (800, 760), (800, 600), planted="attack_did_not_plant"))
    assert math.isnan(gap.overall.estimate)
    assert gap.used == ()
    assert gap.overall.interval is None


def test_an_undefended_accuracy_of_zero_gives_no_value() -> None:
    gap = gap_of(pair("badnet", 0, (0, 10), (800, 600)))
    assert math.isnan(gap.overall.estimate)
    assert gap.pairs[0].first.reason == "no clean accuracy"
