"""What the metrics of detectors share: reading a score table by split, and the threshold that clean references set.

Higher scores are more suspicious. A sample is flagged where its score lies above the threshold.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd

READOUT = "detector"
FALSE_POSITIVE_RATE = 0.01


class Judged(NamedTuple):
    """Scores of one detector by what they are of."""

    positives: np.ndarray  # (P,) float64: poisoned pairs, or triggered images
    negatives: np.ndarray  # (N,) float64: the other pairs, or clean images
    reference: np.ndarray  # (R,) float64: clean images that set the threshold; none for pairs


def judged(scores: pd.DataFrame) -> Judged:
    """Splits a frame with the columns of `schemas.SCORES`."""
    values = scores["score"].to_numpy(np.float64)
    reference = (scores["split"] == "reference").to_numpy()
    positive = scores["positive"].to_numpy(bool) & ~reference
    return Judged(values[positive], values[~positive & ~reference], values[reference])


def threshold(reference: np.ndarray, rate: float = FALSE_POSITIVE_RATE) -> float:
    """The lowest reference score that at most a share `rate` of the (R,) reference scores lies above, R > 0."""
    allowed = int(rate * len(reference) + 1e-9)
    return float(np.sort(reference)[len(reference) - 1 - allowed])


def removed(scores: pd.DataFrame, budget: float) -> np.ndarray:
    """(n,) bool: the share `budget` of the pairs with the highest scores; of equals, those of lower id."""
    order = np.lexsort((scores["id"].to_numpy(), -scores["score"].to_numpy(np.float64)))
    found = np.zeros(len(scores), dtype=bool)
    found[order[: round(budget * len(scores))]] = True
    return found


def percent(rate: float) -> str:
    """How a rate stands in a measure's name: 0.001 as "0.1pct"."""
    return f"{100 * rate:g}pct"
