"""The splits are disjoint, none depends on a later one's size, and a model from outside has rows of its own."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmark.config.spec import Splits
from benchmark.data.pools import CachedPool, StreamedPool, open_pool, open_split
from benchmark.data.prepare import prepare_data, prepare_outside
from benchmark.data.splits import assign_splits, outside_rows
from benchmark.datasets.shapes.dataset import Shapes
from benchmark.errors import UserError
from benchmark.types.source import Outline

pytestmark = pytest.mark.unit
SMALL: dict[str, Any] = {"clean": 30, "validation": 20, "test": 10}
GROUPS = np.arange(400) // 4  # four captions an image
CAPTIONED = Outline(400, (), {}, GROUPS)
WITH_TEST = Outline(400, (), {"test": np.arange(380, 400)})


def drawn(outline: Outline, splits: Splits) -> dict[str, np.ndarray]:
    return assign_splits(outline, splits, pretrain="drawn", place="set")


def equal(first: dict[str, np.ndarray], second: dict[str, np.ndarray], names: tuple[str, ...]) -> bool:
    return all(np.array_equal(first[name], second[name]) for name in names)


@pytest.mark.parametrize("outline", [Outline(400, (), {}), WITH_TEST, CAPTIONED], ids=["plain", "own test", "groups"])
@pytest.mark.parametrize(
    ("splits", "size"),
    [
        (Splits(pretrain=100, **SMALL), 100),  # as many as for pre-training
        (Splits(pretrain=100, outside=40, **SMALL), 40),
        (Splits(outside=40, **SMALL), 40),  # reserved, where pre-training takes the rest
    ],
)
def test_no_other_split_has_a_row_of_the_model_from_outside(outline: Outline, splits: Splits, size: int) -> None:
    parts = drawn(outline, splits) | {"outside": outside_rows(outline, splits, place="set")}
    assert len(parts["outside"]) == size and len(np.unique(parts["outside"])) == size
    for first, second in combinations(parts.values(), 2):
        assert not np.intersect1d(first, second).size
        if outline.groups is not None:
            assert not np.intersect1d(GROUPS[first], GROUPS[second]).size
    assert not np.intersect1d(parts["outside"], np.concatenate([*outline.fixed_splits.values(), [-1]])).size


@pytest.mark.parametrize("outline", [Outline(400, (), {}), CAPTIONED], ids=["plain", "groups"])
def test_other_splits_do_not_depend_on_the_one_for_a_model_from_outside(outline: Outline) -> None:
    plain, reserved = (drawn(outline, Splits(pretrain=100, outside=outside, **SMALL)) for outside in (0, 50))
    assert equal(plain, reserved, ("pretrain", "clean", "validation", "test"))
    everything, less = (drawn(outline, Splits(outside=outside, **SMALL)) for outside in (0, 50))
    assert equal(everything, less, ("clean", "validation", "test"))
    assert set(less["pretrain"]) < set(everything["pretrain"])


def test_what_is_left_is_taken_where_it_is_less_and_refused_where_it_is_nothing() -> None:
    few = Splits(pretrain=300, **SMALL)
    assert len(outside_rows(Outline(400, (), {}), few, place="set")) == 40
    for splits, told in (
        (
            Splits(**SMALL),
            "must be at least 1 that no other split has, got 0; .* reserve some with --set splits.outside",
        ),
        (Splits(pretrain=300, outside=41, **SMALL), "must be at least 401 .*outside 41.*, got 400"),
    ):
        with pytest.raises(UserError, match=told):
            outside_rows(Outline(400, (), {}), splits, place="set")


def test_the_artifact_of_the_other_splits_stays_byte_for_byte(tmp_path: Path) -> None:
    for name, outside in (("without", 0), ("with", 64)):
        (tmp_path / name).mkdir()
        splits = Splits(pretrain=100, outside=outside, **SMALL)
        prepare_data(Shapes(num_rows=300), splits, image_size=8, held_out_only=False, folder=tmp_path / name)
    for file in ("images.npy", "rows.parquet"):
        assert (tmp_path / "without" / file).read_bytes() == (tmp_path / "with" / file).read_bytes()
    assert sorted(path.name for path in (tmp_path / "with").iterdir()) == ["images.npy", "rows.parquet"]


def prepared(folder: Path, dataset: Shapes, splits: Splits) -> tuple[Any, CachedPool | StreamedPool]:
    facts = prepare_outside(dataset, splits, image_size=8, folder=folder)
    return facts, open_pool(dataset, folder, facts, "outside")


def test_a_cached_pool_of_a_model_from_outside_holds_its_own_rows(tmp_path: Path) -> None:
    dataset, splits = Shapes(num_rows=300), Splits(pretrain=100, **SMALL)
    facts, pool = prepared(tmp_path, dataset, splits)
    assert facts["splits"] == {"outside": 100} and pool.num_rows == 100
    rows = outside_rows(Outline.of(dataset.open(image_size=8)), splits, place="shapes")
    batch = pool.take(np.arange(100))
    assert np.array_equal(batch.images.permute(0, 2, 3, 1).numpy(), dataset.open(image_size=8).read(rows).images)
    assert all(batch.captions)
    with pytest.raises(UserError, match="split must be one of outside that is cached, got 'pretrain'"):
        open_split(tmp_path, facts, "pretrain")


@pytest.mark.parametrize("splits", [Splits(pretrain=100, **SMALL), Splits(outside=100, **SMALL)], ids=["given", "rest"])
def test_a_streamed_pool_of_a_model_from_outside_comes_behind_the_pre_training_one(
    tmp_path: Path, splits: Splits
) -> None:
    dataset = Shapes(num_rows=300, streaming=True)
    (tmp_path / "data").mkdir()
    main = prepare_data(dataset, splits, image_size=8, held_out_only=True, folder=tmp_path / "data")
    trained = open_pool(dataset, tmp_path / "data", main, "pretrain")
    facts, pool = prepared(tmp_path, dataset, splits)
    assert (facts["first"], pool.num_rows) == (trained.num_rows, 100)
    left = np.setdiff1d(np.arange(300), np.load(tmp_path / "excluded.npy"))
    wanted = left[trained.num_rows : trained.num_rows + 100]
    source = dataset.open(image_size=8)
    whole = next(pool.in_order(100))
    assert whole.rows.tolist() == list(range(100))
    assert np.array_equal(whole.images.permute(0, 2, 3, 1).numpy(), source.read(wanted).images)
    assert np.array_equal(pool.take([99, 3]).images, whole.images[[99, 3]])
    batches = list(pool.epoch(seed=1, epoch=0, batch_size=20))
    assert sorted(row for batch in batches for row in batch.rows.tolist()) == list(range(100))
    for batch in batches:
        assert np.array_equal(batch.images, whole.images[batch.rows])
