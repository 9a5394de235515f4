"""The front of (clean accuracy, attack success) points and how much of the square it dominates."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


def front(points: np.ndarray) -> np.ndarray:
    """Finds the points that no other beats in both: accuracy up, attack success down.

    Args:
        points: (n, 2) float, columns CA and ASR; rows that are not finite are left out.

    Returns:
        (k,) int64 indices by falling CA, so by falling ASR; of equal points the first.
    """
    import numpy as np

    points = np.asarray(points, dtype=np.float64).reshape(-1, 2)
    finite = np.flatnonzero(np.isfinite(points).all(axis=1))
    # by falling CA, then rising ASR, then index: a point is on the front if its ASR is below all before it
    order = finite[np.lexsort((finite, points[finite, 1], -points[finite, 0]))]
    asr = points[order, 1]
    before = np.concatenate([[np.inf], np.minimum.accumulate(asr)[:-1]]) if len(asr) else asr
    return order[asr < before].astype(np.int64)


def hypervolume(points: np.ndarray) -> float:
    """The area that the points dominate, exact.

    Args:
        points: (n, 2) float, columns CA and ASR; those at CA 0 or ASR 1, the worst corner's, add nothing.

    Returns:
        The area; 1.0 for CA 1 at ASR 0, 0.0 without points.
    """
    import numpy as np

    chosen = np.asarray(points, dtype=np.float64).reshape(-1, 2)[front(points)]
    chosen = chosen[(chosen[:, 0] > 0) & (chosen[:, 1] < 1)]
    ceilings = np.concatenate([[1.0], chosen[:-1, 1]]) if len(chosen) else chosen[:, 1]
    # strips of falling CA: each point owns the ASR between the point before it and itself
    return float((chosen[:, 0] * (ceilings - chosen[:, 1])).sum())
