"""Pools of pairs: what a method may read. `benchmark.data` has the kinds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    import numpy as np
    import torch


class PairBatch(NamedTuple):
    """One batch of pairs."""

    rows: np.ndarray  # (B,) int64 row ids in the pool
    images: torch.Tensor  # (B, 3, H, W) uint8, channels last in memory
    captions: list[str]  # (B,)


class Pool(Protocol):
    """Image-caption pairs; row ids are 0 to `num_rows` - 1."""

    @property
    def num_rows(self) -> int:
        """How many pairs there are."""
        ...

    @property
    def labels(self) -> np.ndarray | None:
        """(N,) int64 where the pool is labelled."""
        ...

    def captions(self, rows: np.ndarray) -> list[str]:
        """Captions of the given rows."""
        ...

    def take(self, rows: Sequence[int] | np.ndarray) -> PairBatch:
        """Reads rows by number, in that order. A streamed pool passes through its stream once for each call."""
        ...

    def in_order(self, batch_size: int) -> Iterator[PairBatch]:
        """All rows once, in the order of their ids; the last batch may be smaller."""
        ...

    def num_steps(self, batch_size: int, rows: np.ndarray | None = None) -> int:
        """Whole batches of an epoch; the rest is dropped."""
        ...

    def epoch(self, *, seed: int, epoch: int, batch_size: int, rows: np.ndarray | None = None) -> Iterator[PairBatch]:
        """Whole batches of one epoch, in an order of (seed, epoch).

        Args:
            seed: of the run.
            epoch: decides the order together with the seed.
            batch_size: pairs of a batch.
            rows: (n,) int64 rows to visit; None: all.
        """
        ...
