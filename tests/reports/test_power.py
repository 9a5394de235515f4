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
    assert power(0, 10, 6) == pytest.approx(0.05, abs=1e-4)


@pytest.mark.parametrize("seeds", [2, 3, 5, 10, 30])
def test_power_agrees_with_the_noncentral_t_of_scipy_and_is_always_a_number(seeds: int) -> None:
    critical = stats.t.isf(0.025, seeds - 1)
    found = [power(gap, 1.0, seeds) for gap in np.linspace(0, 20, 81)]
    assert np.isfinite(found).all() and (np.diff(found) >= 0).all()
    shift = 1.5 * math.sqrt(seeds)
    expected = stats.nct.sf(critical, seeds - 1, shift) + stats.nct.cdf(-critical, seeds - 1, shift)
    assert power(1.5, 1.0, seeds) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("seeds", [2, 3, 4, 7, 20])
def test_every_number_of_seeds_has_a_detectable_gap(seeds: int) -> None:
    rng = np.random.default_rng(seeds)
    for scale in (1e-4, 0.02, 0.3):
        differences = rng.normal(0.05, scale, seeds)
        found = detectable(list(differences))
        assert power(found, float(differences.std(ddof=1)), seeds) == pytest.approx(0.8, abs=1e-6)


def test_the_detectable_gap_has_the_power_that_it_says() -> None:
    differences = [0.05, 0.11, -0.02, 0.07, 0.01]
    found = detectable(differences)
    assert power(found, float(np.std(differences, ddof=1)), 5) == pytest.approx(0.8)
    assert detectable([10 * value for value in differences]) == pytest.approx(10 * found)
    assert all(math.isnan(detectable(few)) for few in ([], [0.1], [0.1, 0.1]))
