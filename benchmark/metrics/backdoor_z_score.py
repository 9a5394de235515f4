"""Backdoor z-score: how much closer to each other triggered images lie than clean ones, in clean standard deviations.

Nicholas Carlini and Andreas Terzis, arXiv:2106.09667, section 5; over the same 500 images, with and without trigger.
Differs: `backdoor_z_score` is over pairs of different images; `backdoor_z_score_variance` is what the released code of
DECREE computes and holds against 2.5: it divides by the variance and counts each image with itself.
Reference code: github.com/GiantSeaweed/DECREE at 9c13b88 (compute_zscore.py).

Stored per image u of n: the mean over the others v of cos(u, v), and of its square, as the scores of the read-outs
"similarity" and "similarity_square". Their means over u give mean and variance over all pairs, exactly.
"""

from __future__ import annotations

import math
from typing import ClassVar, NamedTuple

import numpy as np
import pandas as pd

from benchmark.metrics._outcomes import TRIGGERED, Shown, by_readout
from benchmark.types import Card, Measure, Metric
from benchmark.types.readouts import CLEAN, SIMILARITY, SIMILARITY_SQUARE


class Spread(NamedTuple):
    """Moments of the cosines of one condition."""

    mean: float
    variance: float


class BackdoorZScore(Metric):
    """(mean cosine of triggered pairs - mean cosine of clean pairs) / standard deviation over the clean pairs."""

    name: ClassVar[str] = "backdoor-z-score"
    unit: ClassVar[str] = "standard deviations"
    bounds: ClassVar[tuple[float, float]] = (-math.inf, math.inf)
    higher_is_better: ClassVar[bool | None] = False
    card: ClassVar[Card] = Card(
        title="Backdoor z-score",
        citation="arXiv:2106.09667",
        access="outputs",
        needs=frozenset({"trigger"}),
        summary="Rise of the mean cosine between images under the trigger, in standard deviations of clean cosines.",
    )

    def measure(self, outcomes: pd.DataFrame, *, target: int | None) -> list[Measure]:
        """`backdoor_z_score`, `backdoor_z_score_variance`; none unless both conditions have the read-outs."""
        clean, triggered = (_scores(outcomes, shown) for shown in (CLEAN, TRIGGERED))
        if clean is None or triggered is None:
            return []
        total = clean.shape[1]
        (centre, variance), moved = _spread(clean), _spread(triggered).mean
        released, released_moved = _spread(_with_itself(clean)), _spread(_with_itself(triggered)).mean
        shift = released_moved - released.mean
        values = {
            "backdoor_z_score": (moved - centre) / math.sqrt(variance) if variance > 0 else math.nan,
            "backdoor_z_score_variance": shift / released.variance if released.variance > 0 else math.nan,
        }
        return [Measure(name, SIMILARITY, value, -1, total) for name, value in values.items()]


def _scores(outcomes: pd.DataFrame, shown: Shown) -> np.ndarray | None:
    """(2, n) float64: mean cosine and mean squared cosine of each image; None where not stored, or of one image."""
    places = dict(by_readout(outcomes, shown=shown))
    if SIMILARITY not in places or SIMILARITY_SQUARE not in places or len(places[SIMILARITY]) < 2:
        return None
    values = outcomes["score"].to_numpy(np.float64)
    return np.stack([values[places[name]] for name in (SIMILARITY, SIMILARITY_SQUARE)])


def _spread(moments: np.ndarray) -> Spread:
    """Over all ordered pairs: every image has the same number of partners, so that means of means are means."""
    mean, square = moments.mean(axis=1)
    return Spread(float(mean), float(max(square - mean * mean, 0)))


def _with_itself(moments: np.ndarray) -> np.ndarray:
    """The same moments over all n partners, the image itself, whose cosine is 1, among them."""
    count = moments.shape[1]
    return ((count - 1) * moments + 1) / count
