"""The page of a made-up suite: every number from the records, nothing blank, nothing executed."""

from __future__ import annotations

import base64
import hashlib
import html
import math
import re
from pathlib import Path

import pandas as pd

from benchmark.store.artifacts import Store
from reports.board import write_board
from reports.compile import Frame, Results, compile_suite
from tests.helpers import fake_suite
from tests.helpers.fake_suite import make_store
from tests.helpers.pages import page_of
from tests.helpers.recompute import MEASURED, SHOWN, grid_of


def test_the_grid_shows_the_numbers_of_the_records(page: str, results: Results) -> None:
    rows = grid_of(page)
    assert len(rows) == len(results.cells)
    for row, cell in zip(rows, results.cells.itertuples(), strict=True):
        assert (row["objective"], row["attack"], row["repair"]) == (cell.objective, cell.attack, cell.repair)
        assert (row["rule"], row["state"], row["key"]) == (cell.selection, cell.status, cell.cell)
        for column, name in zip(SHOWN, MEASURED, strict=True):
            value = getattr(cell, name)
            assert row[column] == (None if math.isnan(value) else round(value, 6))
        assert cell.status.replace("_", " ") in row["status"]
        assert row["reason"] == cell.reason


def test_denominators_are_there(page: str) -> None:
    found = [row for row in grid_of(page) if row["asr_total"] and round(row["asr"] * row["asr_total"]) == 88]
    assert {(row["asr_total"], row["rule"]) for row in found} == {(1800, "oracle")}


def test_hostile_texts_are_escaped(page: str) -> None:
    assert fake_suite.HOSTILE not in page
    assert page.count("<script>") == 1
    assert html.escape(fake_suite.HOSTILE, quote=False).replace("'", "&#39;") in page
    assert "\\u003cscript\\u003ealert('label')" in page  # in the table's data
    assert "javascript:" not in page


def test_the_page_loads_nothing_and_runs_only_its_own_script(page: str, board: Path) -> None:
    policy = re.search(r"script-src 'sha256-([^']+)'", html.unescape(page))
    script = re.search(r"<script>(.*?)</script>", page, re.DOTALL)
    assert policy is not None
    assert script is not None
    assert policy.group(1) == base64.b64encode(hashlib.sha256(script.group(1).encode()).digest()).decode()
    targets = re.findall(r'(?:href|src)="([^"]*)"', page)
    assert len(re.findall(r"<script[ >]", page)) == 2  # ours, and a block of data that is no script
    files = {target for target in targets if not target.startswith("#")}
    drawn = ("scatter", "scatter-column", "repair-gap", "repairs-0", "repairs-1")
    formats = ("pdf", "svg", "png")
    tables = {"records.csv", "measures.csv", "tables.md"}
    assert files == tables | {f"figures/{name}.{kind}" for name in drawn for kind in formats}
    assert all((board.parent / file).stat().st_size > 0 for file in files)
    assert all(url.startswith("#") for url in re.findall(r"url\(([^)]*)\)", page))
    named = {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink", "https://arxiv.org/abs/${id[1]}`,"}
    assert set(re.findall(r"https?://[^\"\s]+", page)) == named


def test_ids_are_unique_and_inner_links_lead_somewhere(page: str) -> None:
    ids = re.findall(r' id="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    inner = {target[1:] for target in re.findall(r'href="(#[^"]+)"', page)}
    assert inner <= set(ids)


def test_skipped_rows_are_said_once_on_the_page_and_in_markdown(tmp_path: Path) -> None:
    names = {"count": 40, "keys": ["<b>1.png", "2.png", "3.png"]}
    left_out = {"dataset": "mine", "rows": 1234, "broken": names, "empty_captions": {"count": 1, "keys": ["a|b"]}}
    store = Store(tmp_path / "store")
    fake_suite.write(store, fake_suite.grid(("badnet",), (0,)), facts={"skipped": [left_out]})
    line = "mine: skipped 41 of 1,234 rows: 40 with a missing or broken image (<b>1.png, 2.png, 3.png, …), "
    line += "1 with neither caption nor label (a|b)"
    shown = page_of(store, "demo", tmp_path / "board")
    assert shown.count(html.escape(line)) == 1 and '<a href="#standing">' in shown
    told = (tmp_path / "board" / "tables.md").read_text(encoding="utf-8")
    assert told.count(line.replace("<b>", r"\<b\>").replace("a|b", r"a\|b")) == 1
    fake_suite.write(store, fake_suite.grid(("badnet",), (0,)))
    assert "skipped" not in page_of(store, "demo", tmp_path / "board")


def test_the_headline_counts_only_what_planted_and_finished(page: str) -> None:
    text = re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", " ", page)))
    # MMCL: 1396 / 1424 − 1 = −2.0 %; MMCL+SSL: no point met the bound
    assert "+98.0" in text
    assert "one seed: no interval, no direction" in text
    assert '<p class="number">' not in page and "percentage points" not in text and ">Mean<" not in page
    assert "MMCL+SSL: no point met the bound" in text
    assert "MMCL: attack did not plant" in text
    assert "MMCL: missing" in text
    assert "2 of 3 pairs of cells could not be used" in text
    assert "one seed: no rank" in text


def test_a_suite_without_any_record_says_so(tmp_path: Path) -> None:
    cells = fake_suite.grid((fake_suite.BADNET,), (0,))
    store = make_store(tmp_path / "store", cells, {cell["cell"]: None for cell in cells})
    page = write_board(store, "demo", tmp_path / "board").read_text(encoding="utf-8")
    assert page.count("There is no repair gap to report yet: no pair of cells has both objectives finished") == 1
    assert page.count("There is no answer yet: no pair of cells has both objectives finished") == 1
    assert page.count("no pair of cells has both objectives finished") == 2
    assert '<p class="number">' not in page and ">Mean<" not in page
    assert "\n\nThere is no repair gap to report yet" in (tmp_path / "board" / "tables.md").read_text(encoding="utf-8")
    assert "No attacked cell is finished yet" in page
    assert "the model without an attack is not there yet" in page
    assert "collapsed (CA below" not in page  # this suite's protocol does not say when a search has collapsed
    assert page.count('<span class="pill quiet">missing</span>') == 1
    assert {row["status"] for row in grid_of(page)} == {"missing"}
    assert len(grid_of(page)) == len(compile_suite(store, "demo").cells)
    assert not (tmp_path / "board" / "figures").exists()


def test_figures_of_an_earlier_board_go_and_other_files_stay(broken_store: Store, tmp_path: Path) -> None:
    figures = tmp_path / "board" / "figures"
    write_board(broken_store, "demo", tmp_path / "board")
    drawn = {path.name for path in figures.iterdir()}
    for name in ("repairs-7.pdf", "detectors.svg", "mine.pdf", "repairs-7.tex", "repairs-old.png"):
        (figures / name).write_text("of before")
    write_board(broken_store, "demo", tmp_path / "board")
    assert {path.name for path in figures.iterdir()} == drawn | {"mine.pdf", "repairs-7.tex", "repairs-old.png"}


def test_a_heat_map_is_drawn_once_a_repair_has_a_number(tmp_path: Path) -> None:
    cells = fake_suite.grid((fake_suite.BADNET,), (0,))
    store = make_store(tmp_path / "store", cells, {cell["cell"]: None for cell in cells if cell["repair"] != "none"})
    page = write_board(store, "demo", tmp_path / "board").read_text(encoding="utf-8")
    assert "As figures, with the clean accuracy that each repair costs" not in page


def test_a_suite_without_an_attack_has_nothing_best(tmp_path: Path) -> None:
    store = make_store(tmp_path / "store", fake_suite.grid((), (0,)))
    page = page_of(store, "demo", tmp_path / "board")
    assert "Best at defaults" not in page
    assert "takes two pre-training objectives and a repair that is searched" in page


def test_tables_keep_everything_and_hold_no_formula(tmp_path: Path) -> None:
    cells = fake_suite.grid((), (0,))
    crash = fake_suite.record(cells[0], "undefended", status="failed", reason="=HYPERLINK(A1)")
    store = make_store(tmp_path / "store", cells, {cells[0]["cell"]: [crash]})
    write_board(store, "demo", tmp_path)
    records: Frame = pd.read_csv(tmp_path / "records.csv")
    assert records["reason"][0] == "'=HYPERLINK(A1)"
    assert records["clean_accuracy"].notna().sum() == len(cells) - 1
    measures: Frame = pd.read_csv(tmp_path / "measures.csv")
    assert {"class_accuracy/9", "recall_at_10"} <= set(measures["name"])
    assert (measures["value"] == measures["count"] / measures["total"]).all()
