"""Power of the paired t-test, against simulation and the figures that the protocol was planned with."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from reports.power import detectable, power


@pytest.mark.parametrize(
    ("seeds", "gap", "deviation", "expected"), [(3, 20, 10, 0.48), (5, 20, 10, 0.91), (8, 20, 15, 0.90)]
)
def test_power_against_known_values(seeds: int, gap: float, deviation: float, expected: float) -> None:
    assert power(gap, deviation, seeds) == pytest.approx(expected, abs=0.01)


def test_power_agrees_with_simulation() -> None:
    draws = np.random.default_rng(5).normal(12, 10, (20_000, 6))
    found = stats.ttest_1samp(draws, 0, axis=1).pvalue < 0.05
    assert power(12, 10, 6) == pytest.approx(found.mean(), abs=0.01)
    assert power(0, 10, 6) == pytest.approx(0.05)


def test_the_detectable_gap_has_the_power_that_it_says() -> None:
    differences = [0.05, 0.11, -0.02, 0.07, 0.01]
    found = detectable(differences)
    assert power(found, float(np.std(differences, ddof=1)), 5) == pytest.approx(0.8)
    assert detectable([10 * value for value in differences]) == pytest.approx(10 * found)
    assert all(math.isnan(detectable(few)) for few in ([], [0.1], [0.1, 0.1]))
