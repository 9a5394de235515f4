"""What all stages share: where they run, how they find their inputs, a watch."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

from benchmark.store.artifact import Artifact
from benchmark.store.artifacts import Store

Tick = Callable[[str, float], None]  # (what it is doing, share done)


class Compute(NamedTuple):
    """Where a stage runs: nothing here changes results beyond rounding."""

    device: str = "cpu"
    micro_batch: int | None = None
    checkpoint_epochs: int = 1

    @property
    def prefetch(self) -> int:
        """Batches prepared ahead: a second thread pays only beside a GPU."""
        return 0 if self.device == "cpu" else 2

    @property
    def evaluation_batch(self) -> int:
        """Images encoded at once: what stays in a processor's cache, or fills a GPU."""
        return 128 if self.device == "cpu" else 512


class Stopwatch:
    """Wall time of a stage."""

    def __init__(self) -> None:
        self._began = time.perf_counter()

    def seconds(self) -> float:
        """Seconds since it was made."""
        return time.perf_counter() - self._began


def required(store: Store, stage: str, key: str) -> Artifact:
    """An artifact that an earlier stage made.

    Raises:
        LookupError: it is not there.
    """
    found = store.find(stage, key)
    if found is None:
        raise LookupError(f"{stage}/{key} is not in store {store.root}; run the suite again")
    return found
