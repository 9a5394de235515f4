"""Pools: order, shards, cache and stream, prefetching."""

from __future__ import annotations

import threading
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from benchmark.config.spec import Splits
from benchmark.data.pools import (
    Shard,
    StreamedPool,
    epoch_order,
    open_pool,
    open_split,
    prefetch,
)
from benchmark.data.prepare import prepare_data
from benchmark.datasets.shapes.dataset import Shapes, ShapesSource
from benchmark.errors import UserError
from benchmark.types.rows import RowSet
from benchmark.types.source import Item
from tests.helpers.pools import cached, flat, rows_of


def test_order_is_a_permutation_that_seed_and_epoch_decide() -> None:
    order = epoch_order(1000, seed=3, epoch=2)
    assert sorted(order) == list(range(1000))
    assert np.array_equal(order, epoch_order(1000, seed=3, epoch=2))
    assert not np.array_equal(order, epoch_order(1000, seed=3, epoch=3))
    assert not np.array_equal(order, epoch_order(1000, seed=4, epoch=2))
    np.random.seed(0)  # noqa: NPY002 - the global generator must not matter
    assert np.array_equal(order, epoch_order(1000, seed=3, epoch=2))


def test_order_is_pinned() -> None:
    """Golden: a change here changes every trained model."""
    assert epoch_order(10, seed=0, epoch=0).tolist() == [6, 8, 0, 4, 7, 2, 9, 1, 3, 5]


def test_batches_hold_the_right_pairs_in_channels_last_memory() -> None:
    pool = cached()
    for batch in pool.epoch(seed=1, epoch=0, batch_size=8):
        assert batch.images.shape == (8, 3, 6, 6)
        assert batch.images.is_contiguous(memory_format=torch.channels_last)
        assert np.array_equal(batch.images.numpy().transpose(0, 2, 3, 1), pool.images[batch.rows])
        assert batch.captions == [f"caption {row}" for row in batch.rows]
    assert pool.num_steps(8) == 6  # the last two rows are dropped


def test_workers_share_the_same_global_batches() -> None:
    pool = cached()
    options: dict[str, Any] = {"seed": 1, "epoch": 4, "batch_size": 12}
    alone = rows_of(pool.epoch(**options))
    for world in (2, 3, 4):
        parts = [rows_of(pool.epoch(**options, shard=Shard(rank, world))) for rank in range(world)]
        assert [flat(part[step] for part in parts) for step in range(len(alone))] == alone
    with pytest.raises(UserError, match="batch_size must be a multiple of the 5 workers, got 12"):
        next(pool.epoch(**options, shard=Shard(0, 5)))


def test_an_epoch_over_some_rows_visits_each_of_them_once() -> None:
    pool = cached()
    options: dict[str, Any] = {"seed": 9, "epoch": 1, "batch_size": 10}
    some = np.arange(5, 45, 2)
    batches = rows_of(pool.epoch(**options, rows=some))
    assert sorted(flat(batches)) == some.tolist()
    assert pool.num_steps(10, some) == len(batches) == 2


def prepared(tmp_path: Path, data: Shapes, splits: Splits, **options: Any) -> dict[str, Any]:
    tmp_path.mkdir(exist_ok=True)
    return prepare_data(data, splits, image_size=16, folder=tmp_path, **options)


SPLITS = Splits(clean=20, validation=30, test=40)


def test_cached_splits_are_disjoint_complete_and_seeded(tmp_path: Path) -> None:
    data, done = Shapes(num_rows=300), list[tuple[int, int]]()
    facts = prepared(tmp_path / "a", data, SPLITS, held_out_only=False, progress=lambda *at: done.append(at))
    assert facts["splits"] == {"pretrain": 210, "clean": 20, "validation": 30, "test": 40}
    assert done[-1] == (300, 300)
    pools = {split: open_split(tmp_path / "a", facts, split) for split in facts["splits"]}
    assert {name: pool.num_rows for name, pool in pools.items()} == facts["splits"]
    everything = np.concatenate([pool.images for pool in pools.values()])
    assert len(np.unique(everything.reshape(300, -1), axis=0)) == 300
    drawn = data.open(image_size=16).read(np.arange(300))
    captions = flat(pool.captions(np.arange(pool.num_rows)) for pool in pools.values())
    assert sorted(captions) == sorted(drawn.captions)
    again = prepared(tmp_path / "b", data, SPLITS, held_out_only=False)
    assert again == facts
    assert (tmp_path / "a" / "images.npy").read_bytes() == (tmp_path / "b" / "images.npy").read_bytes()
    assert (tmp_path / "a" / "rows.parquet").read_bytes() == (tmp_path / "b" / "rows.parquet").read_bytes()
    other = SPLITS.model_copy(update={"seed": 1})
    prepared(tmp_path / "c", data, other, held_out_only=False)
    assert (tmp_path / "a" / "rows.parquet").read_bytes() != (tmp_path / "c" / "rows.parquet").read_bytes()


def test_size_of_one_split_leaves_test_alone_and_pretrain_can_be_limited(tmp_path: Path) -> None:
    data = Shapes(num_rows=300)
    wide = prepared(tmp_path / "a", data, SPLITS, held_out_only=False)
    narrow = prepared(tmp_path / "b", data, SPLITS.model_copy(update={"pretrain": 64}), held_out_only=False)
    assert narrow["splits"]["pretrain"] == 64
    first, second = open_split(tmp_path / "a", wide, "test"), open_split(tmp_path / "b", narrow, "test")
    assert np.array_equal(first.images, second.images)
    with pytest.raises(UserError, match="split must be one of pretrain, clean"):
        open_split(tmp_path / "a", wide, "tests")


def test_stream_gives_the_pairs_that_the_cache_gives(tmp_path: Path) -> None:
    streaming = Shapes(num_rows=300, streaming=True)
    facts = prepared(tmp_path / "s", streaming, SPLITS, held_out_only=True)
    pool = open_pool(streaming, tmp_path / "s", facts, "pretrain")
    assert isinstance(pool, StreamedPool)
    assert pool.num_rows == facts["splits"]["pretrain"] == 210
    cache = open_pool(streaming, tmp_path / "s", facts, "clean")
    assert cache.num_rows == 20
    excluded = np.load(tmp_path / "s" / "excluded.npy")
    kept = np.setdiff1d(np.arange(300), excluded)
    drawn = streaming.open(image_size=16).read(kept)
    seen = []
    for batch in pool.epoch(seed=2, epoch=0, batch_size=30):
        assert np.array_equal(batch.images.numpy().transpose(0, 2, 3, 1), drawn.images[batch.rows])
        assert batch.captions == [drawn.captions[row] for row in batch.rows]
        seen += batch.rows.tolist()
    assert sorted(seen) == list(range(210))
    assert pool.captions(np.array([5, 0])) == [drawn.captions[5], drawn.captions[0]]


class Flawed(Shapes):
    """Shapes of which every eleventh image is broken."""

    name: ClassVar[str] = "flawed"

    def open(self, *, image_size: int) -> Any:
        return FlawedSource(self, image_size)


class FlawedSource(ShapesSource):
    def stream(self, *, seed: int | None, epoch: int = 0, rows: RowSet | None = None) -> Iterator[Item]:
        for item in super().stream(seed=seed, epoch=epoch, rows=rows):
            yield item._replace(image=b"broken") if item.row % 11 == 0 else item


def streamed(**fields: Any) -> StreamedPool:
    return StreamedPool(Shapes(num_rows=260, **fields), 8, np.arange(0, 260, 13), 240)


def test_stream_shards_and_restricts_like_a_cached_pool() -> None:
    options: dict[str, Any] = {"seed": 1, "epoch": 2, "batch_size": 16}
    whole = rows_of(streamed().epoch(**options))
    assert len(whole) == 15
    parts = [rows_of(streamed().epoch(**options, shard=Shard(rank, 4))) for rank in range(4)]
    assert [flat(part[step] for part in parts) for step in range(15)] == whole
    assert rows_of(streamed().epoch(**(options | {"epoch": 3}))) != whole
    some = np.arange(0, 240, 3)
    assert sorted(flat(rows_of(streamed().epoch(**options, rows=some)))) == some.tolist()


def test_broken_images_of_a_stream_are_counted_and_replaced_whatever_the_workers() -> None:
    def flawed() -> StreamedPool:
        return StreamedPool(Flawed(num_rows=220), 8, np.empty(0, np.int64), 220)

    options: dict[str, Any] = {"seed": 1, "epoch": 0, "batch_size": 20}
    pool = flawed()
    whole = rows_of(pool.epoch(**options))
    assert pool.broken == 20
    assert not [row for batch in whole for row in batch if row % 11 == 0]
    assert {len(batch) for batch in whole} == {20}
    pools = [flawed() for _ in range(4)]
    parts = [rows_of(pool.epoch(**options, shard=Shard(rank, 4))) for rank, pool in enumerate(pools)]
    assert [flat(part[step] for part in parts) for step in range(len(whole))] == whole
    assert sum(pool.broken for pool in pools) == 20


def test_stream_that_ends_early_says_so() -> None:
    pool = StreamedPool(Shapes(num_rows=100), 8, np.empty(0, np.int64), 120)
    with pytest.raises(UserError, match=r"must have 120 rows .*ended before batch 6 of 6"):
        list(pool.epoch(seed=0, epoch=0, batch_size=20))


def test_memory_of_a_streamed_epoch_does_not_grow_with_the_rows() -> None:
    def peak(num_rows: int) -> int:
        pool = StreamedPool(LongStream(num_rows=num_rows), 4, np.arange(50), num_rows - 50)
        tracemalloc.start()
        for batch in pool.epoch(seed=0, epoch=0, batch_size=100):
            assert len(batch.rows) == 100
        size = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return size

    small, large = peak(10_000), peak(40_000)
    assert large < 1.3 * small  # four times the rows


class LongStream(Shapes):
    """Cheap rows, so that the test looks at the pool and not at the drawing."""

    name: ClassVar[str] = "long"

    def open(self, *, image_size: int) -> Any:
        return LongSource(self, image_size)


class LongSource(ShapesSource):
    def _in_order(self, rows: RowSet) -> Iterator[Item]:
        for row in rows.ascending(0, self.num_rows):
            yield Item(row, np.zeros((self.image_size, self.image_size, 3), np.uint8), "a star", 3, "")


def test_prefetching_keeps_order_raises_errors_and_stops_its_thread() -> None:
    assert list(prefetch(iter(range(20)), 3)) == list(range(20))

    def failing() -> Iterator[int]:
        yield 1
        raise KeyError("inside")

    items = prefetch(failing())
    assert next(items) == 1
    with pytest.raises(KeyError, match="inside"):
        next(items)
    endless = prefetch(iter(int, 1), 2)
    next(endless)
    endless.close()
    threads = [thread for thread in threading.enumerate() if thread.name == "backstop-prefetch"]
    for thread in threads:
        thread.join(timeout=5)
    assert not any(thread.is_alive() for thread in threads)
