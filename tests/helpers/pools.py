"""A pool of noise, and the rows of batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import TypeVar

import numpy as np

from benchmark.data.pools import (
    CachedPool,
    PairBatch,
)

T = TypeVar("T")


def cached(num_rows: int = 50) -> CachedPool:
    images = np.random.default_rng(0).integers(0, 256, (num_rows, 6, 6, 3), dtype=np.uint8)
    return CachedPool(images, [f"caption {row}" for row in range(num_rows)], np.arange(num_rows) % 4)


def rows_of(batches: Iterator[PairBatch]) -> list[list[int]]:
    return [batch.rows.tolist() for batch in batches]


def flat(lists: Iterable[list[T]]) -> list[T]:
    return list(chain.from_iterable(lists))
