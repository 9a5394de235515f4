"""What the metrics share: reading one model's outcome frame by condition and read-out.

A frame holds the clean condition, at most one triggered condition, and the "squash" control where it was asked for.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

from benchmark.types.readouts import CLEAN, RETRIEVAL, RETRIEVAL_TARGET, SIMILARITY, SIMILARITY_SQUARE, SQUASH

TRIGGERED = "triggered"  # neither clean nor squashed, whatever the condition's name
_NO_CLASSES = frozenset((*RETRIEVAL, RETRIEVAL_TARGET, SIMILARITY, SIMILARITY_SQUARE))

Shown = Literal["clean", "squash", "triggered"]


class Classified(NamedTuple):
    """Labelled samples of one read-out."""

    readout: str
    truth: np.ndarray  # (n,) int32
    predicted: np.ndarray  # (n,) int32


class Aimed(NamedTuple):
    """Labelled samples of one read-out, and the class that each is to be taken for."""

    readout: str
    truth: np.ndarray  # (n,) int32
    predicted: np.ndarray  # (n,) int32
    target: int | np.ndarray  # one for all, or (n,) int32


def classified(outcomes: pd.DataFrame, *, shown: Shown = CLEAN) -> list[Classified]:
    """Labelled samples of each class read-out that has any, in order of first appearance.

    Args:
        outcomes: frame with the columns of `schemas.OUTCOMES`.
        shown: the condition.
    """
    found = []
    for readout, rows in by_readout(outcomes, shown=shown):
        truth, predicted = (outcomes[name].to_numpy()[rows] for name in ("true_class", "predicted"))
        labelled = truth >= 0
        if labelled.any() and readout not in _NO_CLASSES:
            found.append(Classified(readout, truth[labelled], predicted[labelled]))
    return found


def aimed(
    outcomes: pd.DataFrame, *, target: int | None, shown: Shown = TRIGGERED, inclusive: bool = False
) -> list[Aimed]:
    """Labelled samples that have a target, of each class read-out that has any.

    Args:
        outcomes: frame with the columns of `schemas.OUTCOMES`.
        target: class index for rows that name no target of their own; None: such rows are left out.
        shown: the condition.
        inclusive: keep samples whose true class is the target.
    """
    found = []
    for readout, rows in by_readout(outcomes, shown=shown):
        truth, predicted, own = (outcomes[name].to_numpy()[rows] for name in ("true_class", "predicted", "target"))
        labelled = truth >= 0
        if readout in _NO_CLASSES or not labelled.any():
            continue
        if own.max() >= 0:
            aims = np.where(own >= 0, own, -1 if target is None else target)
            kept = labelled & (aims >= 0)
            kept = kept if inclusive else kept & (truth != aims)
            found.append(Aimed(readout, truth[kept], predicted[kept], aims[kept]))
        elif target is not None:
            kept = labelled if inclusive else labelled & (truth != target)
            found.append(Aimed(readout, truth[kept], predicted[kept], target))
    return found


def retrieval_ranks(outcomes: pd.DataFrame) -> dict[str, np.ndarray]:
    """Clean retrieval: read-out -> (n,) int32 rank of the true partner, 0 = top."""
    ranks = outcomes["target_rank"].to_numpy()
    return {readout: ranks[rows] for readout, rows in by_readout(outcomes) if readout in RETRIEVAL}


def by_readout(outcomes: pd.DataFrame, *, shown: Shown = CLEAN) -> Iterator[tuple[str, np.ndarray]]:
    """Positions (n,) of each read-out under a condition; of two columns, not of all as a group of the frame would."""
    from pandas import factorize  # here, so that a plan, which knows the metrics too, need not wait for it

    conditions = outcomes["condition"]
    if shown == TRIGGERED:
        rows = np.flatnonzero((conditions != CLEAN).to_numpy())
        rows = rows[np.asarray(conditions.array.take(rows) != SQUASH)]
    else:
        rows = np.flatnonzero((conditions == shown).to_numpy())
    codes, names = factorize(outcomes["readout"].array.take(rows))
    for code, name in enumerate(names):
        yield str(name), rows[codes == code]
