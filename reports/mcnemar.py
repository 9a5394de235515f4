"""Which repaired models cannot be told from the undefended one by the triggered images that are taken for the target.

Exact McNemar test (McNemar 1947) on the same test images of the same attack and seed, Holm over all rows of a board. It
says what test images can tell, and nothing of other seeds.
"""

from __future__ import annotations

import contextlib
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from scipy.special import bdtr

from benchmark.store.artifacts import Store
from reports.areas import keys_of
from reports.compile import Frame
from reports.outcomes import hits_of
from reports.ranking import holm

MOST = 400  # rows that are tested: each reads an outcome table


class Alike(NamedTuple):
    """What was tested, and what could not be told from the undefended model; numbers of rows (column `row`)."""

    rows: frozenset[int] = frozenset()
    tested: int = 0


def mcnemar(lost: int, gained: int) -> float:
    """Two-sided p that hits are lost as often as gained: `lost` images were hits before alone, `gained` after alone."""
    number = lost + gained
    return min(1.0, 2 * float(bdtr(min(lost, gained), number, 0.5))) if number else 1.0


def alike(store: Store, cells: Frame) -> Alike:
    """Tests every repaired row of an attacked cell against its undefended model, zero-shot; none on a larger board.

    Args:
        store: where the outcomes are; a row whose outcomes are not there is not tested.
        cells: the frame of `compile.Results`. Attacks that show only in a transformed model are left out.
    """
    attacked = cells[(cells["attack"] != "none") & (cells["under"] == "") & (cells["status"] == "ok")]
    columns = ["row", "objective", "attack", "seed", "selection", "sources", "artifacts"]
    rows = list(attacked[columns].itertuples(index=False))
    if len(rows) > MOST:
        return Alike()
    start = {(row.objective, row.attack, row.seed): row for row in rows if row.selection == "undefended"}
    before = {where: _hits(store, row) for where, row in start.items()}
    places, values = [], []
    for row in rows:
        first = before.get((row.objective, row.attack, row.seed))
        second = None if row.selection == "undefended" else _hits(store, row)
        if first is not None and second is not None and first.index.equals(second.index):
            places.append(int(row.row))
            values.append(mcnemar(int(np.sum(first & ~second)), int(np.sum(second & ~first))))
    told = holm(values)
    return Alike(frozenset(place for place, one in zip(places, told, strict=True) if not one), len(places))


def _hits(store: Store, row: Any) -> Any:
    """(images) bool by id: which triggered images are taken for the target; None where that is not in the store."""
    with contextlib.suppress(OSError, KeyError, ValueError, pa.ArrowException):
        return hits_of(store, keys_of(row.artifacts).get("poison"), row.sources)
    return None
