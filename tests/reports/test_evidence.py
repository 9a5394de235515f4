"""Every row says that its triggers are public, once a table on the page and in each row of the files."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from reports.board import write_board
from reports.compile import compile_suite
from reports.evidence import NOTE, PUBLIC, evidence
from tests.helpers import fake_suite
from tests.helpers.fake_suite import BADNET

pytestmark = pytest.mark.unit


def test_every_row_says_public_triggers(tmp_path: Path) -> None:
    cells, changed = fake_suite.grid((BADNET,), (0, 1)), {}
    missing = fake_suite.find(cells, "mmcl", BADNET, "fine-tuning")
    changed[missing["cell"]] = None
    store = fake_suite.make_store(tmp_path / "store", cells, changed)
    page = write_board(store, "demo", tmp_path / "board").read_text(encoding="utf-8")
    rows = pd.read_csv(tmp_path / "board" / "records.csv")
    assert "missing" in set(rows["status"])
    assert set(rows["evidence"]) == {PUBLIC} == {"public triggers"}
    tables = (tmp_path / "board" / "tables.md").read_text(encoding="utf-8")
    assert tables.count(NOTE) == 2  # repairs in their order, and the methods
    for place in ('<section id="methods-table"', '<section id="ranking"', '<section id="methods"'):
        note, end = page.index(NOTE, page.index(place)), page.index("<table", page.index(place))
        assert note < end
    results = compile_suite(store, "demo")
    assert set(results.cells["evidence"]) == {PUBLIC}


def test_what_a_record_says_stays_beside_it() -> None:
    assert evidence(pd.Series([None, "", "recomputed"])).tolist() == [PUBLIC, PUBLIC, f"recomputed, {PUBLIC}"]
