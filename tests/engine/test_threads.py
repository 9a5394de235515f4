"""Threads that a suite gives are those that torch has where models are made, under --local and on Ray."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from benchmark.store.artifacts import Store
from tests.helpers.miniature import run


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("how", [("--local",), pytest.param((), marks=pytest.mark.ray)])
def test_the_threads_of_a_suite_win_over_those_of_machine_and_slot(tmp_path: Path, how: tuple[str, ...]) -> None:
    """The helper sets OMP_NUM_THREADS to 1, and a slot has one of two CPUs or both; 3 is what neither would give."""
    run(tmp_path, *how, "--only", "objective=mmcl,attack=none,repair=none", "--set", "threads=3")
    store = Store(tmp_path)
    (key,) = store.keys("record")
    found = store.find("record", key)
    assert found is not None
    (row,) = pq.read_table(found.path("records.parquet")).to_pylist()
    assert json.loads(row["environment"])["threads"] == 3
    assert json.loads(row["specification"])["threads"] == 3
