"""What the metrics share: reading one model's outcome frame by condition and read-out.

A frame holds the clean condition and at most one triggered condition.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pandas as pd

CLEAN = "clean"
RETRIEVAL = "retrieval_"


class Classified(NamedTuple):
    """Labelled samples of one read-out."""

    readout: str
    truth: np.ndarray  # (n,) int32
    predicted: np.ndarray  # (n,) int32


def classified(outcomes: pd.DataFrame, *, triggered: bool, without: int | None = None) -> list[Classified]:
    """Labelled samples of each class read-out that has any, in order of first appearance.

    Args:
        outcomes: frame with the columns of `records.OUTCOMES`.
        triggered: the triggered condition, else the clean one.
        without: a true class whose samples are left out.
    """
    found = []
    for readout, part in _by_readout(outcomes.loc[(outcomes["condition"] != CLEAN).to_numpy() == triggered]):
        truth, predicted = part["true_class"].to_numpy(), part["predicted"].to_numpy()
        labelled = truth >= 0
        if labelled.any() and not readout.startswith(RETRIEVAL):
            kept = labelled if without is None else labelled & (truth != without)
            found.append(Classified(readout, truth[kept], predicted[kept]))
    return found


def retrieval_ranks(outcomes: pd.DataFrame) -> dict[str, np.ndarray]:
    """Clean retrieval: read-out -> (n,) int32 rank of the true partner, 0 = top."""
    rows = outcomes.loc[(outcomes["condition"] == CLEAN).to_numpy()]
    return {
        readout: part["target_rank"].to_numpy() for readout, part in _by_readout(rows) if readout.startswith(RETRIEVAL)
    }


def _by_readout(rows: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    for readout, part in rows.groupby("readout", sort=False):
        yield str(readout), part
