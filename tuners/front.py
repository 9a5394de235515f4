"""The validation front of a searched cell: which (trial, epoch) of all trials stand for what a repair could be had for.

A trial keeps the weights of every epoch on its own front. An epoch that is beaten within its trial is beaten in the
cell, so whatever the other trials find, the cell's front was kept; and an epoch once beaten stays beaten, so that no
weights are missed that were dropped earlier. Keeping at most `size` of a trial would lose some: the area that an epoch
costs is large where other trials beat its neighbours.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from benchmark.config.spec import Search
from benchmark.stats import front, hypervolume
from tuners.selection_rules import Row

if TYPE_CHECKING:
    import numpy as np

_DIGITS = 12  # of an area: sums of equal strips may differ in their last bits


class Front(NamedTuple):
    """What decides which epochs stand on a cell's front; `front_of` makes it."""

    size: int  # most epochs of the cell; 0: nothing is kept for it
    floor: float | None  # validation ASR of the undefended clean twin; None: nothing is subtracted
    lowest: float  # validation CA below which an epoch has collapsed
    strips: int = 0  # of net ASR, of each of which one epoch may stand on it; 0: any may


def front_of(search: Search, *, floor: float | None, start_accuracy: float) -> Front:
    """The front that a search asks for.

    Args:
        search: front, front_strips and collapse are read.
        floor: validation ASR of the undefended clean twin under the same trigger; one that is no number leaves nothing.
        start_accuracy: validation CA of the undefended model.
    """
    return Front(search.front, floor, search.collapse * start_accuracy, search.front_strips)


def front_rows(rows: Sequence[Row], wanted: Front) -> list[Row]:
    """The cell's front: clean accuracy up, net attack success (clipped to [0, 1]) down.

    Where it has more than `size` epochs, the one whose removal costs the smallest area goes first; of equal ones, the
    later trial, then the later epoch. Of epochs that measured the same the first trial's first stands.

    Args:
        rows: all measured epochs of all trials, in any order.
        wanted: from `front_of`.

    Returns:
        At most `wanted.size` rows by falling accuracy, so by falling attack success.
    """
    found = _whole(rows, wanted) if wanted.size else []
    while len(found) > wanted.size:
        found.remove(min(found, key=lambda row: (_cost(found, row, wanted), -row.trial, -row.epoch)))
    return found


def front_epochs(rows: Sequence[Row], wanted: Front) -> set[int]:
    """Epochs of one trial that may stand on the cell's front, as far as measured: all of the trial's own front."""
    return {row.epoch for row in _whole(rows, wanted)} if wanted.size else set()


def _whole(rows: Sequence[Row], wanted: Front) -> list[Row]:
    measured = sorted(
        (row for row in rows if row.accuracy >= wanted.lowest and math.isfinite(_net(row, wanted))),
        key=lambda row: (row.trial, row.epoch),
    )
    if wanted.strips:
        measured = _best_of_strips(measured, wanted)
    return [measured[i] for i in front(_points(measured, wanted)).tolist()]


def _best_of_strips(rows: Sequence[Row], wanted: Front) -> list[Row]:
    """Of each strip of net ASR the row with the best accuracy, then less ASR, the earlier trial, the earlier epoch.

    More rows may displace one of them and never bring back another: weights of beaten rows are not needed again.
    """
    best: dict[int, Row] = {}
    for row in rows:  # by trial and epoch, so that of equal ones the first stands
        strip = min(int(_net(row, wanted) * wanted.strips), wanted.strips - 1)
        other = best.get(strip)
        if other is None or (row.accuracy, -_net(row, wanted)) > (other.accuracy, -_net(other, wanted)):
            best[strip] = row
    return sorted(best.values(), key=lambda row: (row.trial, row.epoch))


def _net(row: Row, wanted: Front) -> float:
    """Net ASR in [0, 1]; NaN where it was not measured or the floor is no number."""
    if row.asr is None:
        return math.nan
    net = row.asr - (wanted.floor or 0.0)
    # less attack success than the clean twin's is worth no more: nothing is left to be repaired
    return min(max(net, 0.0), 1.0) if math.isfinite(net) else math.nan


def _points(rows: Sequence[Row], wanted: Front) -> np.ndarray:
    import numpy as np

    return np.array([(row.accuracy, _net(row, wanted)) for row in rows], np.float64).reshape(-1, 2)


def _cost(rows: Sequence[Row], row: Row, wanted: Front) -> float:
    """The area that the rows dominate less without one of them."""
    rest = [other for other in rows if other is not row]
    return round(hypervolume(_points(rows, wanted)) - hypervolume(_points(rest, wanted)), _DIGITS)
