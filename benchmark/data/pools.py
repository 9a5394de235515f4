"""What training reads: pools of pairs. This file opens them; each kind has a file of its own.

`cached_pool.TrainingPool` says what every pool has.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from benchmark.data.cached_pool import CachedPool, PairBatch, Shard, TrainingPool, as_images, epoch_order
from benchmark.data.poisoned_pool import PoisonedPool, PoisonTable, apply_trigger
from benchmark.data.streamed_pool import StreamedPool, open_streamed
from benchmark.errors import must

if TYPE_CHECKING:
    from benchmark.types import Dataset

__all__ = [
    "CachedPool",
    "PairBatch",
    "PoisonTable",
    "PoisonedPool",
    "Shard",
    "StreamedPool",
    "TrainingPool",
    "apply_trigger",
    "as_images",
    "epoch_order",
    "open_pool",
    "open_split",
    "open_streamed",
    "prefetch",
]

TRAINED = ("pretrain", "outside")  # splits that models are trained on from the start
RAM_LIMIT = 1 << 30  # bytes of images that are held in memory; larger splits stay on disk
T = TypeVar("T")


def open_pool(dataset: Dataset, folder: Path, facts: Mapping[str, Any], split: str) -> CachedPool | StreamedPool:
    """Opens a split, from the cache where it is there, else from the stream (what a streamed set is trained on)."""
    if split in TRAINED and facts["held_out_only"]:
        return open_streamed(dataset, folder, facts, split)
    return open_split(folder, facts, split)


def open_split(folder: Path, facts: Mapping[str, Any], split: str) -> CachedPool:
    """Opens a cached split of a `data` artifact.

    Args:
        folder: the artifact's files.
        facts: the artifact's facts.
        split: pretrain, clean, validation or test; outside, of an artifact that holds that one.

    Raises:
        UserError: if the split was not cached (the pre-training rows of a streamed set).
    """
    import pyarrow.parquet as pq

    table = pq.read_table(folder / "rows.parquet", columns=["caption", "label", "split"])
    places = np.flatnonzero(table["split"].to_numpy() == split)
    if not len(places):
        raise must("split", f"one of {', '.join(facts['splits'])} that is cached", split, "use a streamed pool for it")
    start, stop = int(places[0]), int(places[-1]) + 1  # splits lie behind one another
    images = np.load(folder / "images.npy", mmap_mode="r")[start:stop]
    if images.nbytes < RAM_LIMIT:
        images = np.array(images)
    part = table.slice(start, stop - start)
    labels = np.array(part["label"].to_numpy())  # a copy: what Arrow gives is read-only, which torch warns of
    return CachedPool(images, part["caption"].to_pylist(), None if (labels < 0).any() else labels)


def prefetch(items: Iterator[T], depth: int = 1) -> Iterator[T]:
    """Runs an iterator in a thread that stays up to `depth` items ahead; errors surface here, and so does its end."""
    ready: queue.Queue[tuple[str, Any]] = queue.Queue(maxsize=max(depth, 1))
    stopped = threading.Event()

    def put(kind: str, value: Any) -> bool:
        while not stopped.is_set():
            try:
                ready.put((kind, value), timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def work() -> None:
        try:
            for item in items:
                if not put("item", item):
                    return
            put("end", None)
        except BaseException as error:  # handed to the reader, who raises it
            put("error", error)

    threading.Thread(target=work, daemon=True, name="backstop-prefetch").start()
    try:
        while True:
            kind, value = ready.get()
            if kind == "error":
                raise value
            if kind == "end":
                return
            yield value
    finally:
        stopped.set()
