"""Streams read, decode and pass through no more than they must, and give what reading by number gives."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import datasets
import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from benchmark.config.spec import Splits
from benchmark.data import streamed_pool
from benchmark.data.images import shuffle
from benchmark.data.poisoned_pool import PoisonedPool, PoisonTable
from benchmark.data.pools import StreamedPool, open_pool
from benchmark.data.prepare import prepare_data
from benchmark.datasets.hugging_face import scanning
from benchmark.datasets.hugging_face.columns import Reader
from benchmark.datasets.hugging_face.content import remembered
from benchmark.datasets.hugging_face.dataset import HuggingFace
from benchmark.datasets.hugging_face.tables import Tables
from benchmark.datasets.shapes.dataset import Shapes, ShapesSource
from benchmark.errors import UserError
from benchmark.types import Attack, TriggerState
from benchmark.types.rows import RowSet, picked
from benchmark.types.source import Item

GROUP, FILE_ROWS, NUM_FILES = 20, 200, 3
NO_ROWS = np.empty(0, np.int64)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "hf-cache"))
    monkeypatch.setenv("BACKSTOP_CACHE", str(tmp_path / "user-cache"))


def encoded(row: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), (row % 256, row // 256, 9)).save(buffer, "PNG")
    return buffer.getvalue()


def write(file: Path, rows: range, *, caption_type: str = "string") -> None:
    columns = {
        "image": [{"bytes": encoded(row), "path": f"{row}.png"} for row in rows],
        "caption": [f"caption {row}" for row in rows] if caption_type == "string" else list(rows),
        "unused": ["x" * 50] * len(rows),
    }
    features = {"image": datasets.Image(), "caption": datasets.Value(caption_type), "unused": datasets.Value("string")}
    file.parent.mkdir(exist_ok=True)
    made = datasets.Dataset.from_dict(columns, features=datasets.Features(features))
    pq.write_table(made.data.table, file, row_group_size=GROUP)


def parquet(folder: Path, *, caption_types: tuple[str, ...] = ("string",) * NUM_FILES, **fields: Any) -> HuggingFace:
    """600 rows in three files of ten row groups each."""
    for place, caption_type in enumerate(caption_types):
        start = place * FILE_ROWS
        write(folder / f"train-{place}.parquet", range(start, start + FILE_ROWS), caption_type=caption_type)
    return HuggingFace(path=str(folder), **fields)


class Counts:
    """What passes made: rows made into items, images decoded, row groups read."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.items, self.decoded, self.groups = list[int](), 0, list[int]()
        item, decode_all, of_group = Reader.item, streamed_pool.decode_all, scanning._of_group

        def counted_item(reader: Reader, row: int, record: Any) -> Item:
            self.items.append(row)
            return item(reader, row, record)

        def counted_decode(images: Any, size: int, **how: Any) -> Any:
            self.decoded += len(images)
            return decode_all(images, size, **how)

        def counted_group(opened: Any, group: int, columns: Any, rows: RowSet, start: int) -> Any:
            self.groups.append(start // GROUP)
            return of_group(opened, group, columns, rows, start)

        monkeypatch.setattr(Reader, "item", counted_item)
        monkeypatch.setattr(streamed_pool, "decode_all", counted_decode)
        monkeypatch.setattr(scanning, "_of_group", counted_group)


def test_a_pass_reads_and_decodes_the_rows_of_its_split_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = parquet(tmp_path / "set", streaming=True)
    counts, out = Counts(monkeypatch), tmp_path / "out"
    out.mkdir()
    splits = Splits(pretrain=60, clean=12, validation=12, test=12)
    facts = prepare_data(spec, splits, image_size=8, held_out_only=True, folder=out)
    assert len(counts.items) == 36  # the held-out rows
    pool = open_pool(spec, out, facts, "pretrain")
    excluded = np.load(out / "excluded.npy")
    own = np.setdiff1d(np.arange(600), excluded)[:60]
    for epoch in range(2):
        counts.items, counts.decoded, counts.groups = [], 0, []
        seen = [row for batch in pool.epoch(seed=1, epoch=epoch, batch_size=16) for row in batch.rows]
        assert len(seen) == 48
        assert counts.items == own.tolist()  # each once, none of the other 540
        assert counts.decoded == 48
        assert counts.groups == list(range(own[-1] // GROUP + 1))


def test_rows_by_number_and_restricted_passes_read_those_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pool = StreamedPool(parquet(tmp_path / "set", streaming=True), 8, np.arange(0, 600, 2), 300)
    counts = Counts(monkeypatch)
    rows = np.array([205, 3, 204])  # rows 411, 7 and 409 of the set
    assert pool.captions(rows) == ["caption 411", "caption 7", "caption 409"]
    assert (counts.items, counts.groups) == ([7, 409, 411], [0, 20])
    counts.items, counts.groups = [], []
    seen = [row for batch in pool.epoch(seed=0, epoch=0, batch_size=3, rows=rows) for row in batch.rows]
    assert sorted(seen) == [3, 204, 205]
    assert (counts.items, counts.groups) == ([7, 409, 411], [0, 20])
    with pytest.raises(UserError, match="ended before row 300"):
        pool.take([4, 300])


def test_a_tar_is_left_after_the_last_row_that_is_wanted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with tarfile.open(tmp_path / "train.tar", "w") as tar:
        for row in range(40):
            for suffix, data in (("png", encoded(row)), ("txt", f"caption {row}".encode())):
                entry = tarfile.TarInfo(f"{row:04d}.{suffix}")
                entry.size = len(data)
                tar.addfile(entry, io.BytesIO(data))
    source = HuggingFace(path=str(tmp_path), streaming=True).open(image_size=8)
    assert isinstance(source, Tables)
    passed = list[int]()

    def counted(table: Any) -> Iterator[Any]:
        for place, record in enumerate(table):
            passed.append(place)
            yield record

    counts = Counts(monkeypatch)
    watched = Tables(**(vars(source) | {"tables": tuple(counted(table) for table in source.tables)}))
    found = [item.caption for item in watched.stream(seed=None, rows=RowSet.of(np.array([2, 5])))]
    assert found == ["caption 2", "caption 5"]
    assert (passed, counts.items) == (list(range(6)), [2, 5])


class Passes(Shapes):
    """Shapes that count how often their stream is begun."""

    name: ClassVar[str] = "passes"
    begun: ClassVar[list[int]] = []

    def open(self, *, image_size: int) -> Any:
        return PassesSource(self, image_size)


class PassesSource(ShapesSource):
    def stream(self, *, seed: int | None, epoch: int = 0, rows: RowSet | None = None) -> Iterator[Item]:
        Passes.begun.append(epoch)
        return super().stream(seed=seed, epoch=epoch, rows=rows)


class Plain(Attack):
    """A trigger that changes nothing."""

    name: ClassVar[str] = "plain"

    def trigger(self, images: torch.Tensor, ids: np.ndarray, state: TriggerState) -> torch.Tensor:
        return images


def test_appended_rows_cost_one_pass_and_are_all_there_in_a_restricted_one() -> None:
    Passes.begun.clear()
    sources = np.array([4, 7, 9])
    poison = PoisonTable(60 + np.arange(3), sources, ["x"] * 3, ["a", "b", "c"], np.full(3, -1), np.ones(3, bool))
    pool = PoisonedPool(
        StreamedPool(Passes(num_rows=60), 8, NO_ROWS, 60), poison, Plain(target="cat"), TriggerState(0, {})
    )
    assert Passes.begun == [0]
    for epoch in (1, 2):
        assert sum(len(batch.rows) for batch in pool.epoch(seed=0, epoch=epoch, batch_size=21)) == 63
    assert Passes.begun == [0, 1, 2]
    some = np.array([3, 60, 8, 61, 30, 62])
    for epoch in range(20):  # the places of appended rows are drawn anew in each
        seen = [row for batch in pool.epoch(seed=0, epoch=epoch, batch_size=6, rows=some) for row in batch.rows]
        assert sorted(seen) == sorted(some.tolist())


def test_a_fact_of_files_is_found_once_until_they_change(tmp_path: Path) -> None:
    file, made = tmp_path / "x", list[str]()
    file.write_text("1")

    def make() -> str:
        made.append("made")
        return str(len(made))

    assert [remembered("rows", [file], make) for _ in range(3)] == ["1", "1", "1"]
    assert remembered("other", [file], make) == "2"
    file.write_text("longer")
    assert remembered("rows", [file], make) == "3"


def test_scanned_parquet_is_what_reading_by_number_gives(tmp_path: Path) -> None:
    spec = parquet(tmp_path / "set", streaming=True)
    source, plain = spec.open(image_size=8), HuggingFace(path=spec.path).open(image_size=8)
    assert isinstance(source, Tables)
    assert None not in source.scans
    assert source.num_rows == plain.num_rows == 600
    rows = np.array([599, 0, 200, 199, 61])
    streamed_rows, read_rows = source.read(rows), plain.read(rows)
    assert np.array_equal(streamed_rows.images, read_rows.images)
    assert streamed_rows._replace(images=0, rows=0, labels=0) == read_rows._replace(images=0, rows=0, labels=0)
    assert [item.row for item in source.stream(seed=None)] == list(range(600))
    assert list(source.stream(seed=None)) == list(plain.stream(seed=None))
    assert list(source.stream(seed=4, epoch=1)) == list(plain.stream(seed=4, epoch=1))


def test_parquet_that_must_be_cast_is_left_to_the_library(tmp_path: Path) -> None:
    source = parquet(tmp_path / "set", streaming=True, caption_types=("string", "int64", "string")).open(image_size=8)
    assert isinstance(source, Tables)
    assert source.scans == (None,)
    wanted = RowSet.of(np.array([1, 250]))
    assert [item.caption for item in source.stream(seed=None, rows=wanted)] == ["caption 1", "250"]


def test_a_damaged_file_is_the_users_to_mend(tmp_path: Path) -> None:
    spec = parquet(tmp_path / "set", streaming=True)
    source, damaged = spec.open(image_size=8), tmp_path / "set" / "train-1.parquet"
    whole = damaged.read_bytes()
    damaged.write_bytes(whole[:4] + b"\xff" * (len(whole) // 2) + whole[4 + len(whole) // 2 :])
    assert len(list(source.stream(seed=None, rows=RowSet.before(FILE_ROWS)))) == FILE_ROWS
    with pytest.raises(UserError, match=r"train-1.parquet' cannot be read"):
        list(source.stream(seed=None))
    damaged.write_bytes(b"not parquet")
    with pytest.raises(UserError, match=r"train-1.parquet' cannot be read"):
        spec.open(image_size=8)


@pytest.mark.parametrize("kind", ["parquet", "shapes"])
def test_rows_keep_the_order_that_they_have_among_all(tmp_path: Path, kind: str) -> None:
    spec = parquet(tmp_path / "set", streaming=True, shuffle_buffer=50) if kind == "parquet" else Shapes(num_rows=600)
    source = spec.open(image_size=8)
    whole = [item.row for item in source.stream(seed=2, epoch=3)]
    assert sorted(whole) == list(range(600))
    for some in (RowSet.of(np.arange(5, 90, 3)), RowSet.before(300, without=np.arange(0, 600, 7)), RowSet.of(NO_ROWS)):
        inside = set(some.within(0, 600).tolist())
        assert [item.row for item in source.stream(seed=2, epoch=3, rows=some)] == [r for r in whole if r in inside]


def test_the_order_of_a_stream_is_pinned() -> None:
    items = [Item(row, None, "", -1, "") for row in range(20)]
    order = [5, 1, 0, 7, 9, 6, 11, 8, 2, 4, 13, 15, 16, 14, 3, 12, 17, 10, 19, 18]
    assert [item.row for item in shuffle(iter(items), seed=7, buffer=6)] == order
    few = [items[row] for row in (2, 3, 11)]
    assert [item.row for item in shuffle(iter(few), seed=7, buffer=6, num_rows=20)] == [11, 2, 3]


@pytest.mark.parametrize("listed_only", [False, True])
def test_row_sets_hold_what_they_say(listed_only: bool) -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        rows = rng.integers(0, 60, size=int(rng.integers(0, 20)))
        some = RowSet.of(rows) if listed_only else RowSet.before(50, without=rows)
        inside = set(rows.tolist()) if listed_only else set(range(50)) - set(rows.tolist())
        for start, stop in ((0, 60), (10, 30), (40, 55), (49, 70), (55, 70), (7, 7)):
            part = sorted(row for row in inside if start <= row < stop)
            assert some.within(start, stop).tolist() == part
            assert some.count(start, stop) == len(part)
            assert list(some.ascending(start, stop)) == part
        assert [row for row, _ in picked("x" * 60, some, start=0, stop=60)] == sorted(inside)


def test_records_of_one_split_are_numbered_behind_another(tmp_path: Path) -> None:
    spec = parquet(tmp_path / "set", streaming=True)
    source = spec.open(image_size=8)
    assert isinstance(source, Tables)
    scan = source.scans[0]
    assert scan is not None
    assert scan.columns == ("caption", "image")
    found = [row for row, record in scanning.records(scan, RowSet.of(np.array([1000, 1399, 1600])), start=1000)]
    assert found == [1000, 1399]
