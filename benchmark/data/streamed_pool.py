"""Pre-training pairs of a set that is larger than memory: read, decoded and batched as the stream goes by."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmark.data.cached_pool import PairBatch, TrainingPool, Visit, as_images
from benchmark.data.images import Decoder, chunks, decode, decode_all, decoder_of, stack
from benchmark.data.prepare import captions_for, check_labels
from benchmark.errors import UserError
from benchmark.store.keys import derive_seed
from benchmark.types.rows import RowSet
from benchmark.types.source import Item, Source

if TYPE_CHECKING:
    from benchmark.types import Dataset


class StreamedPool(TrainingPool):
    """Pairs of a stream; memory does not grow with their number.

    Batches are cut from the stream by position. A row whose image is broken or whose caption is empty is skipped: the
    next good one of its batch stands in, so that batches stay whole and do not depend on the number of workers.
    """

    labels: np.ndarray | None = None

    def __init__(
        self,
        dataset: Dataset,
        image_size: int,
        excluded_rows: np.ndarray,
        num_rows: int,
        *,
        first: int = 0,
        caption_seed: int = 0,
    ) -> None:
        """Opens the set.

        Args:
            dataset: which set.
            image_size: pixels of the images' sides.
            excluded_rows: (E,) int64 rows of the set that belong to other splits.
            num_rows: how many of the other rows are in this pool.
            first: how many of them come before it: those of a pool of the same stream.
            caption_seed: seed of the splits, which chose the templates of labelled rows.
        """
        self._source: Source = dataset.open(image_size=image_size)
        self._place, self._size, self._caption_seed = dataset.name, image_size, caption_seed
        self._decoder: Decoder = decoder_of(dataset)
        self._excluded = np.unique(np.asarray(excluded_rows, np.int64))
        self.num_rows, self._first = num_rows, first
        start, last = self._set_rows(np.array([0, num_rows - 1])).tolist()
        self._rows = RowSet.before(last + 1, without=self._excluded, start=start)
        self.broken = 0  # broken images and empty captions met so far; a report, never read for results

    def captions(self, rows: np.ndarray) -> list[str]:
        """Captions of the given rows; passes through the stream once."""
        found = {item.row: item.caption for item in self._passing(rows)}  # images go by: all captions may be asked for
        return [found[row] for row in np.asarray(rows).tolist()]

    def take(self, rows: Sequence[int] | np.ndarray) -> PairBatch:
        """Reads rows by number, in that order; passes through the stream once."""
        items = self.items(rows)
        batch = [items[row] for row in np.asarray(rows).tolist()]
        return self._decode(batch, slice(0, len(batch)))

    def in_order(self, batch_size: int) -> Iterator[PairBatch]:
        """All rows once, in the order of their ids; the last batch may be smaller."""
        for batch in chunks(self._positions(self._source.stream(seed=None, rows=self._rows)), batch_size):
            yield self._decode(batch, slice(0, len(batch)))

    def items(self, rows: Sequence[int] | np.ndarray) -> dict[int, Item]:
        """Encoded rows by their id in this pool; passes through the stream once, in stored order."""
        return {item.row: item for item in self._passing(rows)}

    def _passing(self, rows: Sequence[int] | np.ndarray) -> Iterator[Item]:
        wanted = np.unique(np.asarray(rows, np.int64))
        left = set(wanted.tolist())
        for item in self._positions(self._source.stream(seed=None, rows=RowSet.of(self._set_rows(wanted)))):
            left.discard(item.row)
            yield item
        if left:
            raise self._too_short(f"row {min(left)}")

    def batches(self, visit: Visit) -> Iterator[PairBatch]:
        """Batches of one epoch."""
        return self.mixed_batches(visit, ())

    def mixed_batches(self, visit: Visit, appended: Sequence[Item]) -> Iterator[PairBatch]:
        """Batches of one epoch, with `appended` items, which have ids of their own, mixed in."""
        rows, num_own, appended = self._visited(visit.rows, appended)
        items = self._positions(self._source.stream(seed=visit.seed, epoch=visit.epoch, rows=rows))
        items = _mix(items, appended, num_own, derive_seed(visit.seed, "appended", visit.epoch))
        num_steps = (num_own + len(appended)) // visit.batch_size
        part = visit.shard.slice(visit.batch_size)
        batches = chunks(items, visit.batch_size)
        for step in range(num_steps):
            batch = next(batches, [])
            if len(batch) < visit.batch_size:
                raise self._too_short(f"batch {step + 1} of {num_steps}")
            yield self._decode(batch, part)

    def _visited(self, rows: np.ndarray | None, appended: Sequence[Item]) -> tuple[RowSet, int, Sequence[Item]]:
        """Rows of the set, how many they are, and the appended items, that these ids of the pool stand for."""
        if rows is None:
            return self._rows, self.num_rows, appended
        ids = np.unique(np.asarray(rows, np.int64))
        own = ids[ids < self.num_rows]
        return RowSet.of(self._set_rows(own)), len(own), [item for item in appended if _holds(ids, item.row)]

    def _set_rows(self, rows: np.ndarray) -> np.ndarray:
        """(B,) int64 rows of the set that have these ids in this pool."""
        places = rows + self._first
        return places + np.searchsorted(self._excluded - np.arange(len(self._excluded)), places, side="right")

    def _positions(self, items: Iterator[Item]) -> Iterator[Item]:
        """Numbers rows of the set within this pool, and fills in captions of labels."""
        for chunk in chunks(items, 256):
            rows = np.array([item.row for item in chunk], np.int64)
            labels = np.array([item.label for item in chunk], np.int64)
            check_labels(labels, self._source, self._place)
            texts = captions_for(self._source, rows, [item.caption for item in chunk], labels, self._caption_seed)
            ids = rows - np.searchsorted(self._excluded, rows) - self._first
            for item, row, text in zip(chunk, ids.tolist(), texts, strict=True):
                yield item._replace(row=row, caption=text)

    def _decode(self, batch: list[Item], part: slice) -> PairBatch:
        own = batch[part]
        encoded = [item.image if item.caption.strip() else None for item in own]
        images = decode_all(encoded, self._size, decoder=self._decoder)
        for place, image in enumerate(images):
            if image is None:
                self.broken += 1
                own[place], images[place] = self._stand_in(batch, part.start + place)
        rows = np.array([item.row for item in own], np.int64)
        good = [image for image in images if image is not None]
        return PairBatch(rows, as_images(stack(good, self._size)), [item.caption for item in own])

    def _stand_in(self, batch: list[Item], place: int) -> tuple[Item, np.ndarray]:
        for step in range(1, len(batch)):
            item = batch[(place + step) % len(batch)]
            image = decode(item.image, self._size, decoder=self._decoder) if item.caption.strip() else None
            if image is not None:
                return item, image
        raise UserError(f"{self._place}: a batch must hold a readable image, got {len(batch)} broken; mend the files")

    def _too_short(self, place: str) -> UserError:
        return UserError(
            f"{self._place}: the stream must have {self.num_rows} rows in this split, got fewer "
            f"(ended before {place}); mend expected_rows, or fetch the missing files"
        )


def _mix(items: Iterator[Item], appended: Sequence[Item], num_items: int, seed: int) -> Iterator[Item]:
    """Puts the appended items at places that the seed decides."""
    if not appended:
        yield from items
        return
    rng = np.random.Generator(np.random.PCG64(seed))
    slots = rng.choice(num_items + len(appended), size=len(appended), replace=False).tolist()
    at = dict(zip(slots, appended, strict=True))
    place = 0
    for item in items:
        while place in at:
            yield at[place]
            place += 1
        yield item
        place += 1
    while place in at:
        yield at[place]
        place += 1


def _holds(ordered: np.ndarray, value: int) -> bool:
    place = int(np.searchsorted(ordered, value))
    return place < len(ordered) and int(ordered[place]) == value


def open_streamed(dataset: Dataset, folder: Path, facts: Mapping[str, Any], split: str) -> StreamedPool:
    """Opens a split that is not cached: the one for pre-training, or the one for a model from outside.

    Args:
        dataset: the set that the artifact was made from.
        folder: the `data` artifact's files.
        facts: its facts.
        split: pretrain or outside.
    """
    return StreamedPool(
        dataset,
        facts["image_size"],
        np.load(folder / "excluded.npy"),
        facts["splits"][split],
        first=facts.get("first", 0),
        caption_seed=facts["seed"],
    )
