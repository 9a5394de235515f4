"""Which rows a stream is read for, so that it can leave out the others and end after the last one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

WINDOW = 4096  # rows that are told apart at once
T = TypeVar("T")


@dataclass(frozen=True)
class RowSet:
    """Rows of a set: those that are listed, or all from `start` to before `stop` but those."""

    stop: int  # no row from here on is in it
    listed: np.ndarray  # (n,) int64, sorted and distinct
    listed_only: bool
    start: int = 0  # no row before it is in it

    @classmethod
    def of(cls, rows: np.ndarray) -> RowSet:
        """The given rows."""
        listed = np.unique(np.asarray(rows, np.int64))
        return cls(int(listed[-1]) + 1 if len(listed) else 0, listed, True)

    @classmethod
    def before(cls, stop: int, *, without: np.ndarray | None = None, start: int = 0) -> RowSet:
        """Rows `start` to `stop` - 1, without some."""
        return cls(stop, np.unique(np.asarray([] if without is None else without, np.int64)), False, start)

    def count(self, start: int, stop: int) -> int:
        """How many rows of start to `stop` - 1 are in it."""
        start, stop, part = self._between(start, stop)
        return len(part) if self.listed_only else stop - start - len(part)

    def within(self, start: int, stop: int) -> np.ndarray:
        """(n,) int64, sorted: the rows of start to `stop` - 1 that are in it."""
        start, stop, part = self._between(start, stop)
        return part if self.listed_only else np.setdiff1d(np.arange(start, stop), part, assume_unique=True)

    def _between(self, start: int, stop: int) -> tuple[int, int, np.ndarray]:
        """What of start to `stop` - 1 lies within the set's bounds, and the listed rows there."""
        start = max(start, self.start)
        stop = max(start, min(stop, self.stop))
        first, last = np.searchsorted(self.listed, (start, stop))
        return start, stop, self.listed[first:last]

    def ascending(self, start: int, stop: int) -> Iterator[int]:
        """The rows of `within`, found as they are asked for."""
        for at in range(start, min(stop, self.stop), WINDOW):
            yield from self.within(at, min(at + WINDOW, stop)).tolist()


def picked(values: Iterable[T], rows: RowSet, *, start: int, stop: int) -> Iterator[tuple[int, T]]:
    """Numbers values from `start` on and gives those in `rows`; nothing after the last of them is asked for."""
    wanted = rows.ascending(start, stop)
    target = next(wanted, None)
    if target is None:
        return
    for row, value in enumerate(values, start):
        if row == target:
            yield row, value
            target = next(wanted, None)
            if target is None:
                return
