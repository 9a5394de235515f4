"""A set that only judges models is cached without its clean rows; what selects and what judges stays as it is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from benchmark.config.spec import Splits
from benchmark.data.prepare import prepare_data
from benchmark.datasets.shapes.dataset import Shapes

pytestmark = pytest.mark.unit
SPLITS = Splits(pretrain=8, clean=16, validation=12, test=10)


def prepared(folder: Path, *, judges_only: bool, held_out_only: bool = True) -> tuple[dict[str, int], np.ndarray, list]:
    folder.mkdir()
    facts = prepare_data(
        Shapes(num_rows=64),
        SPLITS,
        image_size=16,
        held_out_only=held_out_only,
        judges_only=judges_only,
        folder=folder,
    )
    rows = pq.read_table(folder / "rows.parquet").to_pylist()
    return facts["splits"], np.load(folder / "images.npy"), rows


def test_the_clean_rows_of_a_set_that_only_judges_are_not_cached(tmp_path: Path) -> None:
    all_sizes, all_images, all_rows = prepared(tmp_path / "all", judges_only=False)
    sizes, images, rows = prepared(tmp_path / "judges", judges_only=True)
    assert all_sizes == {"clean": 16, "validation": 12, "test": 10}
    assert sizes == {"validation": 12, "test": 10}
    assert np.array_equal(images, all_images[16:])  # drawn as before, and left alone
    assert rows == all_rows[16:]


def test_a_set_that_models_are_trained_on_keeps_its_clean_rows(tmp_path: Path) -> None:
    sizes, _, _ = prepared(tmp_path / "trained", judges_only=False, held_out_only=False)
    assert sizes == {"pretrain": 8, "clean": 16, "validation": 12, "test": 10}
