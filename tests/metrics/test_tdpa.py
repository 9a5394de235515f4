"""Targeted poisoning against scipy: success, rank and intervals."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest

from benchmark.evaluation.measure import measures
from benchmark.metrics.tdpa import TDPA
from benchmark.metrics.tdpa_rank import TDPARank
from tests.helpers.metrics import keyed, outcome_table

pytestmark = pytest.mark.unit


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
