"""The front of (clean accuracy, attack success) points, how much of the square it dominates, intervals of shares."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np

Z = 1.959963984540054  # of a two-sided 95 % interval
SLACK = 1e-9  # by which a share may miss a limit: 0.30 - 0.25 <= 0.05 must hold in binary too


class Interval(NamedTuple):
    """A confidence interval, in the unit of its estimate."""

    low: float
    high: float


def wilson(count: float, total: float) -> Interval:
    """Wilson's 95 % score interval (Wilson 1927) of the share `count` of `total`, 0 <= count <= total, total > 0."""
    share, weight = count / total, Z * Z / total
    centre = (share + weight / 2) / (1 + weight)
    half = math.sqrt(share * (1 - share) * weight + weight * weight / 4) / (1 + weight)
    # at 0 and at `total` rounding would leave a hair between the bound and the share itself
    return Interval(0.0 if count == 0 else centre - half, 1.0 if count == total else centre + half)


def newcombe(first: tuple[float, float], second: tuple[float, float]) -> Interval:
    """95 % interval of the share `first` minus the share `second`, each (count, total > 0).

    Newcombe 1998, doi:10.1002/(SICI)1097-0258(19980430)17:8<873::AID-SIM779>3.0.CO;2-I, method 10: from both Wilson
    intervals. Shares of the same samples are taken as independent; in practice they go together, so that it is wide.
    """
    (low, high), (other_low, other_high) = wilson(*first), wilson(*second)
    share, other = first[0] / first[1], second[0] / second[1]
    down, up = math.hypot(share - low, other_high - other), math.hypot(high - share, other - other_low)
    return Interval(share - other - down, share - other + up)


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


def front_area(start: tuple[float, float] | np.ndarray, points: np.ndarray) -> float:
    """Normalised front area: what a model and what a repair made of it dominate together, over the model's own CA.

    It is the share of the starting CA that can be kept, averaged over every ASR that may be asked for. 1 is the whole
    CA at no backdoor; above 1, the repair has raised CA.

    Args:
        start: CA and ASR of the undefended model, CA above 0.
        points: (n, 2) float, CA and ASR of repaired ones. Both ASR are clipped to [0, 1], since a net one may leave it.
    """
    import numpy as np

    every = np.vstack([np.asarray(start, dtype=np.float64), np.asarray(points, dtype=np.float64).reshape(-1, 2)])
    every[:, 1] = every[:, 1].clip(0, 1)
    return hypervolume(every) / float(start[0])
