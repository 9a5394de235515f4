"""Pairs that can be taken by number, and the order of an epoch: a pure function of (seed, epoch).

A pool's row ids are 0 to num_rows - 1, positions within its split. Batches are global: each rank takes its contiguous
slice of the same global batch, so the order does not depend on how many workers there are.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from benchmark.errors import must
from benchmark.store.keys import derive_seed
from benchmark.types.pools import PairBatch

if TYPE_CHECKING:
    import torch


class Shard(NamedTuple):
    """Which part of each global batch this process takes."""

    rank: int = 0
    world: int = 1

    def slice(self, batch_size: int) -> slice:
        """This rank's part of a global batch.

        Raises:
            UserError: if the batch does not divide by the number of workers.
        """
        if batch_size % self.world:
            raise must("batch_size", f"a multiple of the {self.world} workers", batch_size, "change one of the two")
        part = batch_size // self.world
        return slice(self.rank * part, (self.rank + 1) * part)


WHOLE = Shard()


class Visit(NamedTuple):
    """Which pairs an epoch visits, in which batches; their order is a function of seed and epoch."""

    seed: int
    epoch: int
    batch_size: int  # of the global batch
    rows: np.ndarray | None = None  # (n,) int64; None: all
    shard: Shard = WHOLE


class TrainingPool(ABC):
    """Pairs that a model is trained on, or that are looked through."""

    num_rows: int
    labels: np.ndarray | None  # (N,) int64 where the pool is labelled

    @abstractmethod
    def captions(self, rows: np.ndarray) -> list[str]:
        """Captions of the given rows."""

    @abstractmethod
    def take(self, rows: Sequence[int] | np.ndarray) -> PairBatch:
        """Reads rows by number, in that order. A streamed pool passes through its stream once for each call."""

    @abstractmethod
    def in_order(self, batch_size: int) -> Iterator[PairBatch]:
        """All rows once, in the order of their ids; the last batch may be smaller."""

    @abstractmethod
    def batches(self, visit: Visit) -> Iterator[PairBatch]:
        """Batches of one epoch."""

    def num_steps(self, batch_size: int, rows: np.ndarray | None = None) -> int:
        """Whole batches of an epoch; the rest is dropped."""
        return (self.num_rows if rows is None else len(rows)) // batch_size

    def epoch(
        self,
        *,
        seed: int,
        epoch: int,
        batch_size: int,
        rows: np.ndarray | None = None,
        shard: Shard = WHOLE,
    ) -> Iterator[PairBatch]:
        """Batches of one epoch.

        Args:
            seed: of the run.
            epoch: decides the order together with the seed.
            batch_size: of the global batch.
            rows: (n,) int64 rows to visit; None: all.
            shard: which part of each global batch to give.
        """
        return self.batches(Visit(seed, epoch, batch_size, rows, shard))


def as_images(stored: np.ndarray) -> torch.Tensor:
    """(B, H, W, 3) uint8 to a (B, 3, H, W) view of it that is channels last in memory; nothing is copied."""
    import torch

    return torch.from_numpy(stored).permute(0, 3, 1, 2)


def epoch_order(num_rows: int, *, seed: int, epoch: int, rows: np.ndarray | None = None) -> np.ndarray:
    """The order of one epoch: (N,) int64, or a permutation of `rows`."""
    rng = np.random.Generator(np.random.PCG64(derive_seed(seed, "order", epoch)))
    return rng.permutation(num_rows if rows is None else np.asarray(rows, np.int64))


class RandomAccess(TrainingPool):
    """A pool whose rows can be taken by number."""

    def in_order(self, batch_size: int) -> Iterator[PairBatch]:
        """All rows once, in the order of their ids; the last batch may be smaller."""
        for start in range(0, self.num_rows, batch_size):
            yield self.take(np.arange(start, min(start + batch_size, self.num_rows)))

    def batches(self, visit: Visit) -> Iterator[PairBatch]:
        """Batches of one epoch."""
        size, rows = visit.batch_size, visit.rows
        order = epoch_order(self.num_rows, seed=visit.seed, epoch=visit.epoch, rows=rows)
        part = visit.shard.slice(size)
        for step in range(self.num_steps(size, rows)):
            yield self.take(order[step * size : (step + 1) * size][part])


class CachedPool(RandomAccess):
    """A split whose images lie decoded in memory or in a memory-mapped file."""

    def __init__(
        self,
        images: np.ndarray,
        captions: Sequence[str] | np.ndarray,
        labels: np.ndarray | None,
        *,
        places: np.ndarray | None = None,
    ) -> None:
        """Wraps (M, H, W, 3) uint8 images, N captions and (N,) int64 labels.

        `places`, (N,) int64, says which images they belong to; None: M is N, all in order.
        """
        self.images, self.labels, self._places = images, labels, places
        self.num_rows = len(images) if places is None else len(places)
        self._captions = np.array(captions, dtype=object)

    def unlabelled(self) -> CachedPool:
        """The same pairs without their labels."""
        return CachedPool(self.images, self._captions, None, places=self._places)

    def part(self, rows: np.ndarray) -> CachedPool:
        """Some of the pairs, numbered anew; no image is copied."""
        places = rows if self._places is None else self._places[rows]
        labels = None if self.labels is None else self.labels[rows]
        return CachedPool(self.images, self._captions[rows], labels, places=places)

    def captions(self, rows: np.ndarray) -> list[str]:
        """Captions of the given rows."""
        return self._captions[rows].tolist()

    def take(self, rows: Sequence[int] | np.ndarray) -> PairBatch:
        """Reads rows by number, in that order."""
        rows = np.asarray(rows, np.int64)
        places = rows if self._places is None else self._places[rows]
        return PairBatch(rows, as_images(np.take(self.images, places, axis=0)), self.captions(rows))
