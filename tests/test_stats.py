"""Fronts and hypervolume, against brute force; intervals of shares, against scipy and Newcombe's paper."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import binomtest

from benchmark.stats import front, hypervolume, newcombe, wilson


def _dominated(points: np.ndarray, index: int) -> bool:
    better = (points[:, 0] >= points[index, 0]) & (points[:, 1] <= points[index, 1])
    strictly = (points[:, 0] > points[index, 0]) | (points[:, 1] < points[index, 1])
    return bool((better & strictly).any())


def _grid(seed: int, count: int, steps: int = 20) -> np.ndarray:
    """Points on a coarse grid, so that ties and repeated points occur."""
    return np.random.default_rng(seed).integers(0, steps + 1, size=(count, 2)) / steps


@pytest.mark.parametrize("seed", range(20))
def test_the_front_holds_exactly_the_points_that_nothing_dominates(seed: int) -> None:
    points = _grid(seed, 30)
    found = front(points)
    expected = {tuple(points[i]) for i in range(len(points)) if not _dominated(points, i)}
    assert {tuple(points[i]) for i in found} == expected
    assert len(found) == len(expected)  # a repeated point stands once
    assert (np.diff(points[found, 0]) < 0).all()
    assert (np.diff(points[found, 1]) < 0).all()


@pytest.mark.parametrize("seed", range(20))
def test_hypervolume_counts_the_dominated_cells_of_a_grid(seed: int) -> None:
    steps = 20
    points = _grid(seed, 6, steps)
    centres = (np.arange(steps) + 0.5) / steps
    accuracy, asr = np.meshgrid(centres, centres)
    covered = np.zeros_like(accuracy, dtype=bool)
    for point in points:
        covered |= (accuracy < point[0]) & (asr > point[1])
    assert hypervolume(points) == pytest.approx(covered.mean(), abs=1e-12)


def test_hypervolume_of_simple_shapes() -> None:
    assert hypervolume(np.array([[1.0, 0.0]])) == 1.0
    assert hypervolume(np.array([[0.5, 0.5], [0.25, 0.25]])) == pytest.approx(0.3125)
    assert hypervolume(np.empty((0, 2))) == 0.0
    assert hypervolume(np.array([[0.0, 0.5], [0.5, 1.0]])) == 0.0


def test_points_that_are_not_finite_are_left_out() -> None:
    points = np.array([[math.nan, 0.0], [0.5, 0.5], [0.9, math.nan], [math.inf, 0.1]])
    assert front(points).tolist() == [1]
    assert hypervolume(points) == pytest.approx(0.25)


@pytest.mark.parametrize(("count", "total"), [(0, 10), (1, 10), (5, 10), (10, 10), (437, 900), (1799, 1800)])
def test_wilson_equals_scipy(count: int, total: int) -> None:
    expected = binomtest(count, total).proportion_ci(confidence_level=0.95, method="wilson")
    assert wilson(count, total) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_wilson_is_exact_at_the_ends() -> None:
    assert wilson(0, 50).low == 0.0
    assert wilson(50, 50).high == 1.0


@pytest.mark.parametrize(  # Newcombe 1998, table II, method 10
    ("first", "second", "expected"),
    [
        ((56, 70), (48, 80), (0.0524, 0.3339)),
        ((9, 10), (3, 10), (0.1705, 0.8090)),
        ((10, 10), (0, 20), (0.6791, 1.0)),
    ],
)
def test_newcombe_gives_the_intervals_of_his_paper(
    first: tuple[int, int], second: tuple[int, int], expected: tuple[float, float]
) -> None:
    assert newcombe(first, second) == pytest.approx(expected, abs=5e-5)
