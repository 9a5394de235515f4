"""What a search is worth: the area of the front that validation chose, as test shows it, and the published cut."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from benchmark.perf.surface.table import Curves
from benchmark.stats import front_area
from tuners.front import Front, front_rows
from tuners.selection_rules import Row, select

SIZE = 12  # most epochs of a front
COLLAPSE = 0.3  # an epoch below this share of the start's CA stands for nothing
BOUND = 0.05  # of net ASR, for the cut


class Worth(NamedTuple):
    """What a search found."""

    validation: float  # area of the front that validation chose, over the start's CA
    test: float  # area of the same epochs on test, over the start's CA
    cut: float  # relative change of test CA at the best epoch that met the bound on validation; -1: none did


def worth(curves: Curves, epochs: Mapping[int, int]) -> Worth:
    """Judges a search.

    Args:
        curves: the whole grid of one model.
        epochs: trial -> how many of its epochs were run.
    """
    rows = _rows(curves, epochs)
    lowest = COLLAPSE * curves.validation.start[0]
    front = front_rows(rows, Front(SIZE, None, lowest))
    best = select((row for row in rows if row.accuracy >= lowest), _under_bound)
    start = curves.test.start[0]
    cut = -1.0 if best is None else (_at(curves, best)[0] - start) / start
    return Worth(
        front_area(curves.validation.start, np.array([(row.accuracy, row.asr or 0.0) for row in front])),
        front_area(curves.test.start, np.array([_at(curves, row) for row in front])),
        cut,
    )


def whole(curves: Curves) -> dict[int, int]:
    """The search that leaves nothing out."""
    return dict.fromkeys(range(curves.num_trials), curves.num_epochs)


def _under_bound(row: Row) -> tuple[float, ...] | None:
    return (row.accuracy, -row.asr) if row.asr is not None and row.asr <= BOUND else None


def _at(curves: Curves, row: Row) -> np.ndarray:
    return curves.test.points[row.trial, row.epoch - 1]


def _rows(curves: Curves, epochs: Mapping[int, int]) -> list[Row]:
    rows = []
    for trial, count in epochs.items():
        points = curves.validation.points[trial, :count]
        rows += [
            Row(trial, epoch, "", float(accuracy), float(asr))
            for epoch, (accuracy, asr) in enumerate(points, 1)
            if np.isfinite(accuracy)
        ]
    return rows
