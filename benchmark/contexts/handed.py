"""Pools as methods hold them: the pairs, and nothing that tells which are poisoned, or with what."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from benchmark.data.cached_pool import PairBatch, TrainingPool, Visit
from benchmark.data.pools import PoisonedPool
from benchmark.types import Pool


def handed(pool: Pool) -> Pool:
    """A poisoned pool without its manifest, its attack and its trigger; any other pool as it is."""
    return HandedPool(pool) if isinstance(pool, PoisonedPool) else pool


class HandedPool(TrainingPool):
    """The pairs of another pool. It holds functions alone, so that no attribute leads to that pool."""

    def __init__(self, pool: TrainingPool) -> None:
        self.num_rows, self.labels = pool.num_rows, pool.labels
        # a bound method would lead to the pool
        self._captions = lambda rows: pool.captions(rows)
        self._take = lambda rows: pool.take(rows)
        self._in_order = lambda batch_size: pool.in_order(batch_size)
        self._batches = lambda visit: pool.batches(visit)

    def captions(self, rows: np.ndarray) -> list[str]:
        """Captions of the given rows, after poisoning."""
        return self._captions(rows)

    def take(self, rows: Sequence[int] | np.ndarray) -> PairBatch:
        """Reads rows by number, in that order."""
        return self._take(rows)

    def in_order(self, batch_size: int) -> Iterator[PairBatch]:
        """All rows once, in the order of their ids."""
        return self._in_order(batch_size)

    def batches(self, visit: Visit) -> Iterator[PairBatch]:
        """Batches of one epoch."""
        return self._batches(visit)
