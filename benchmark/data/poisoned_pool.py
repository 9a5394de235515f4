"""A pool under poison: captions replaced, triggers applied as images are read; nothing poisoned is copied to disk."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import copy
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from benchmark.data.cached_pool import CachedPool, PairBatch, RandomAccess, Visit, as_images
from benchmark.data.streamed_pool import StreamedPool
from benchmark.types.source import Item

if TYPE_CHECKING:
    import torch

    from benchmark.types import BaseAttack, TriggerState

MEMO_LIMIT = 256 << 20  # bytes of triggered images that are kept; more are stamped as they are read
STAMP_AT_ONCE = 256


class PoisonTable(NamedTuple):
    """The poison manifest: one entry per poisoned row, sorted by `rows`."""

    rows: np.ndarray  # (M,) int64 ids in the poisoned pool; appended row j has id num_rows + j
    source_rows: np.ndarray  # (M,) int64 rows of the clean pool whose image is used
    original_captions: list[str]
    captions: list[str]
    trigger_ids: np.ndarray  # (M,) int64; -1: no trigger on this row
    appended: np.ndarray  # (M,) bool


def apply_trigger(attack: BaseAttack, state: TriggerState, images: torch.Tensor, ids: np.ndarray) -> torch.Tensor:
    """Stamps the trigger on stored images: the one point where triggered images become 8 bits.

    Args:
        attack: gives the trigger.
        state: its seed and tensors.
        images: (B, 3, H, W) uint8; not modified.
        ids: (B,) int64 sample ids; -1 leaves an image as it is.

    Returns:
        (B, 3, H, W) uint8, channels last in memory: clipped to [0, 1] and rounded half to even.

    Raises:
        ValueError: the trigger gave anything but finite images of the same shape.
    """
    import torch

    ids = np.asarray(ids, np.int64)
    stamped = np.flatnonzero(ids >= 0)
    if not len(stamped):
        return images.clone(memory_format=torch.channels_last)
    chosen, whole = torch.from_numpy(stamped), len(stamped) == len(ids)
    floats = (images if whole else images[chosen]).to(torch.float32).div_(255)
    shape = tuple(floats.shape)
    triggered = _checked(attack.trigger(floats, ids[stamped], state), attack, shape)
    triggered = triggered.clamp(0, 1).mul_(255).round_().to(torch.uint8)
    if whole:  # gathering and scattering would cost more than the trigger
        return triggered.contiguous(memory_format=torch.channels_last)
    result = images.clone(memory_format=torch.channels_last)
    result[chosen] = triggered
    return result


def _checked(given: Any, attack: BaseAttack, shape: tuple[int, ...]) -> torch.Tensor:
    """What a trigger gave; torch would repeat one image for all, and make black pixels of NaN, without a word."""
    import torch

    if not isinstance(given, torch.Tensor) or not given.is_floating_point() or tuple(given.shape) != shape:
        got = f"{tuple(given.shape)} {given.dtype}" if isinstance(given, torch.Tensor) else type(given).__name__
        raise ValueError(f"{attack.name}.trigger must give images {shape} float32, got {got}")
    if not bool(given.sum().isfinite()):  # one pass, where to ask each pixel takes four
        raise ValueError(f"{attack.name}.trigger must give finite pixels, got NaN or infinite ones")
    return given


class PoisonedPool(RandomAccess):
    """Another pool with a poison manifest laid over it."""

    def __init__(
        self, base: CachedPool | StreamedPool, poison: PoisonTable, attack: BaseAttack, state: TriggerState
    ) -> None:
        """Lays the manifest over the pool; triggered images of a cached pool are stamped now, where they fit."""
        self._base, self._poison, self._attack, self._state = base, poison, attack, state
        self._captions = np.array(poison.captions, dtype=object)
        self.num_rows = base.num_rows + int(poison.appended.sum())
        self.labels = base.labels
        if base.labels is not None:
            self.labels = np.concatenate([base.labels, base.labels[poison.source_rows[poison.appended]]])
        self._stamped = self._stamp_all()
        self._appended = self._appended_items()

    def unlabelled(self) -> PoisonedPool:
        """The same pairs without their labels."""
        other = copy(self)
        other.labels = None
        return other

    def captions(self, rows: np.ndarray) -> list[str]:
        """Captions of the given rows, after poisoning."""
        rows = np.asarray(rows, np.int64)
        places, poisoned = self._find(rows)
        captions = np.empty(len(rows), dtype=object)
        captions[poisoned] = self._captions[places[poisoned]]
        if not poisoned.all():
            captions[~poisoned] = np.array(self._base.captions(rows[~poisoned]), dtype=object)
        return captions.tolist()

    def take(self, rows: Sequence[int] | np.ndarray) -> PairBatch:
        """Reads rows by number, in that order."""
        rows = np.asarray(rows, np.int64)
        places, poisoned = self._find(rows)
        sources = rows.copy()
        sources[poisoned] = self._poison.source_rows[places[poisoned]]
        return self._overlay(self._base.take(sources)._replace(rows=rows), places, poisoned)

    def in_order(self, batch_size: int) -> Iterator[PairBatch]:
        """All rows once, in the order of their ids; batches at the clean rows' end may be smaller."""
        if isinstance(self._base, CachedPool):
            yield from super().in_order(batch_size)
            return
        for batch in self._base.in_order(batch_size):
            yield self._overlay(batch, *self._find(batch.rows))
        if self.num_rows > self._base.num_rows:
            yield self.take(np.arange(self._base.num_rows, self.num_rows))

    def batches(self, visit: Visit) -> Iterator[PairBatch]:
        """Batches of one epoch."""
        if isinstance(self._base, CachedPool):
            yield from super().batches(visit)
            return
        for batch in self._base.mixed_batches(visit, self._appended):
            yield self._overlay(batch, *self._find(batch.rows))

    def _appended_items(self) -> list[Item]:
        """Encoded images of appended rows: a stream is passed through once for all epochs, which hold them anyway."""
        poison = self._poison
        if not poison.appended.any() or not isinstance(self._base, StreamedPool):
            return []
        sources = poison.source_rows[poison.appended].tolist()
        items = self._base.items(np.unique(sources))
        ids = poison.rows[poison.appended].tolist()
        captions = self._captions[poison.appended].tolist()
        return [
            items[source]._replace(row=row, caption=caption)
            for row, source, caption in zip(ids, sources, captions, strict=True)
        ]

    def _find(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Places of rows in the manifest (B,), and which of them are there (B,) bool."""
        known = self._poison.rows
        if not len(known):
            return np.zeros(len(rows), np.int64), np.zeros(len(rows), bool)
        places = np.minimum(np.searchsorted(known, rows), len(known) - 1)
        return places, known[places] == rows

    def _overlay(self, batch: PairBatch, places: np.ndarray, poisoned: np.ndarray) -> PairBatch:
        """Puts triggers and captions on the poisoned rows of a batch whose memory is its own."""
        at = np.flatnonzero(poisoned)
        if not len(at):
            return batch
        entries = places[at]
        stored = batch.images.permute(0, 2, 3, 1).numpy()  # (B, H, W, 3), the batch's own memory
        captions = list(batch.captions)
        for place, entry in zip(at.tolist(), entries.tolist(), strict=True):
            captions[place] = self._poison.captions[entry]
        if self._stamped is not None:
            stored[at] = self._stamped[entries]
        else:
            stamped = apply_trigger(self._attack, self._state, as_images(stored[at]), self._poison.trigger_ids[entries])
            stored[at] = stamped.permute(0, 2, 3, 1).numpy()
        return PairBatch(batch.rows, batch.images, captions)

    def _stamp_all(self) -> np.ndarray | None:
        """(M, H, W, 3) uint8 images of all poisoned rows, stamped once; None where they do not fit or are streamed."""
        sources = self._poison.source_rows
        base = self._base
        if not isinstance(base, CachedPool) or len(sources) * int(np.prod(base.images.shape[1:])) > MEMO_LIMIT:
            return None
        stamped = np.empty((len(sources), *base.images.shape[1:]), np.uint8)
        for start in range(0, len(sources), STAMP_AT_ONCE):
            part = slice(start, start + STAMP_AT_ONCE)
            clean = base.take(sources[part]).images
            images = apply_trigger(self._attack, self._state, clean, self._poison.trigger_ids[part])
            stamped[part] = images.permute(0, 2, 3, 1).numpy()
        return stamped
