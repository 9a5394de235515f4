"""What a number of seeds can separate: the smallest gap that a paired t-test would find four times of five."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy.optimize import brentq
from scipy.special import gammaincinv, ndtr, stdtrit

LEVEL, POWER, STEPS = 0.05, 0.8, 4000


def power(gap: float, deviation: float, seeds: int) -> float:
    """The chance that a two-sided paired t-test at 5 % finds a true gap.

    Args:
        gap: mean difference, in the unit of `deviation`.
        deviation: standard deviation of the difference over seeds, above 0.
        seeds: 2 or more.
    """
    freedom, shift = seeds - 1, abs(gap) / deviation * math.sqrt(seeds)
    # the noncentral t as a mean over the deviations that so few seeds may show; SciPy's own is NaN at some values
    shown = np.sqrt(2 * gammaincinv(freedom / 2, (np.arange(STEPS) + 0.5) / STEPS) / freedom)
    critical = stdtrit(freedom, 1 - LEVEL / 2) * shown
    return float((ndtr(shift - critical) + ndtr(-shift - critical)).mean())


def detectable(differences: Sequence[float]) -> float:
    """The smallest true gap that as many seeds, with the spread of these, would find with a chance of 80 %.

    Args:
        differences: one paired difference a seed.

    Returns:
        In the unit of the differences; NaN with fewer than two, or where they do not differ.
    """
    seeds = len(differences)
    deviation = float(np.std(differences, ddof=1)) if seeds > 1 else 0.0
    if deviation == 0:
        return math.nan
    error, upper = deviation / math.sqrt(seeds), 1.0
    while power(upper * error, deviation, seeds) < POWER:
        upper *= 2
    return error * float(brentq(lambda errors: power(errors * error, deviation, seeds) - POWER, 0.0, upper))  # type: ignore[arg-type]
