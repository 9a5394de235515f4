"""Rows that cannot be read or say nothing are skipped, never silently: the terminal and the record say how many."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import Image
from rich.console import Console

from benchmark.config.spec import Splits, Suite
from benchmark.data.skipped import skipped
from benchmark.datasets.hugging_face.dataset import HuggingFace
from benchmark.engine.driver import SuiteRun
from benchmark.engine.local import LocalExecutor
from benchmark.engine.monitor import Monitor
from benchmark.objectives.mmcl import MMCL
from benchmark.stages.common import Compute
from benchmark.stages.keys import cells_of
from benchmark.stages.prepare import Prepare
from benchmark.stages.record import skipped_rows, write_record
from benchmark.stages.work.prepare import prepare_stage
from benchmark.store.artifacts import Store

pytestmark = pytest.mark.unit


def suite(folder: Path, *, spoilt: bool) -> Suite:
    """Twenty captioned images; spoilt: four cannot be read and one says nothing."""
    (folder / "images").mkdir(parents=True)
    for row in range(20):
        buffer = io.BytesIO()
        Image.new("RGB", (8, 8), (row, 0, 0)).save(buffer, "PNG")
        (folder / "images" / f"{row}.png").write_bytes(b"junk" if spoilt and row < 4 else buffer.getvalue())
    lines = [f"images/{row}.png,{'' if spoilt and row == 9 else f'caption {row}'}" for row in range(20)]
    (folder / "train.csv").write_text("\n".join(["image,caption", *lines]) + "\n")
    data = HuggingFace(path=str(folder))
    splits = Splits(pretrain=14, clean=2, validation=2, test=2)
    return Suite(name="mine", data=data, splits=splits, objectives=(MMCL(),), attacks=())


@pytest.fixture(autouse=True)
def _own_caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "hf-cache"))
    monkeypatch.setenv("BACKSTOP_CACHE", str(tmp_path / "user-cache"))


@pytest.mark.parametrize("spoilt", [True, False])
def test_a_run_says_what_it_skipped_once_and_the_record_keeps_it(tmp_path: Path, spoilt: bool) -> None:
    store, wanted = Store(tmp_path / "store"), suite(tmp_path / "set", spoilt=spoilt)
    cells = cells_of(wanted)
    prepare_stage(store, cells[0], False, tick=lambda *_: None)
    console = Console(file=io.StringIO(), width=80)
    with Monitor(console) as monitor:
        executor = LocalExecutor(store, monitor, Compute())
        SuiteRun(store, wanted, cells, [*cells, *cells], executor, monitor, stages=(Prepare(),)).run()
    told = console.file.getvalue()  # type: ignore[attr-defined]
    assert told.count("hf: skipped 5 of 20 rows: 4 with a missing or broken image (") == spoilt
    assert told.count("1 with neither caption nor label (images/9.png)") == spoilt
    assert bool(told) == spoilt
    write_record(store, cells[0], "mine", [], environment={})
    facts = store.facts("record", cells[0].keys.record)
    assert facts is not None
    assert [found["broken"]["count"] for found in facts.get("skipped", [])] == [4] * spoilt
    assert all(len(found["broken"]["keys"]) == 3 for found in facts.get("skipped", []))


def test_before_anything_is_prepared_nothing_is_skipped(tmp_path: Path) -> None:
    cell = cells_of(suite(tmp_path / "set", spoilt=True))[0]
    assert skipped_rows(Store(tmp_path / "store"), cell) == []


def test_of_a_streamed_set_only_the_cached_rows_are_counted() -> None:
    facts = {
        "splits": {"pretrain": 10_000, "clean": 7, "test": 2},
        "held_out_only": True,
        "broken": {"count": 1, "keys": ["a.png"]},
        "empty_captions": {"count": 0, "keys": []},
    }
    found = skipped("mine", facts)
    assert found is not None and found["rows"] == 10
