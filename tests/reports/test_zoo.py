"""The page and the files of a whole zoo: detectors, int8, chosen images, threat models, statuses."""

from __future__ import annotations

import html
import re
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from benchmark.store.artifacts import Store
from benchmark.store.schemas import RECORDS
from reports.compile import Results
from reports.further import measure_tables
from reports.markdown import escape
from reports.standing import reasons
from tests.helpers import fake_suite, fake_zoo
from tests.helpers.pages import page_of


def test_chosen_images_have_their_numbers_by_unit(zoo: Results) -> None:
    tables = measure_tables(zoo, fake_zoo.names(zoo))
    (found,) = [one for one in tables if "TDPA mean rank" in " ".join(one.columns)]
    rows = {(row.shown["objective"], row.shown["repair"], row.shown["rule"]): row for row in found.rows}
    texts = [number.text for number in rows["MMCL", "none", "undefended"].numbers]
    assert texts == ["0.12", "97.0", "100.0", "100.0"]
    assert rows["MMCL", "PAR", "default"].numbers[1].tooltip.startswith("3 of 100;")
    assert {row.shown["attack"] for row in found.rows} == {"TDPA"}


def test_reasons_are_gathered_and_exact(zoo: Results) -> None:
    found = reasons(zoo.cells, zoo.detections, fake_zoo.names(zoo))
    off = pd.concat([zoo.cells, zoo.detections])
    assert sum(one.rows for one in found) == (off["status"] != "ok").sum()
    said = {(one.status, one.methods[0]): one for one in found}
    assert said["failed", "Heavy weight decay"].models == ["MMCL: SIG", "MMCL+SSL: SIG"]
    assert said["not applicable", "RVPT"].models[1] == "MMCL+SSL: all 7 models"
    planted = said["attack did not plant", "undefended"]
    assert (len(planted.methods), planted.models) == (1 + 13 + 6, ["MMCL: WaNet (grid=4)"])
    assert said["missing", "STRIP"].models == ["MMCL+SSL: WaNet (grid=224)"]


def test_the_page_has_every_section(zoo_page: str) -> None:
    text = re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", " ", zoo_page)))
    for words in (
        "Overview: defenses against attacks",
        "declared oracle: knows the true trigger",
        "Filters on training pairs",
        "340 poisoned of 17\u202f000 pairs",
        "Detectors of triggered images",
        "9 of 11 attacked models called suspicious",
        "Searches against Quantisation are not drawn",
        "RVPT needs a vision transformer",
        "optimiser state of pre-training",
    ):
        assert re.sub(r"\s+", " ", words) in text, words
    ids = re.findall(r' id="([^"]+)"', zoo_page)
    assert len(ids) == len(set(ids))
    assert {target[1:] for target in re.findall(r'href="(#[^"]+)"', zoo_page)} <= set(ids)
    assert 'data-detector="' not in zoo_page  # the grid is that of the repairs


def test_files_hold_detectors_too(zoo_board: Path) -> None:
    records = pd.read_csv(zoo_board.parent / "records.csv")
    assert (records["detector"] != "none").sum() == sum(cell["detector"] != "none" for cell in fake_zoo.grid())
    assert not [name for name in records.columns if name.startswith("judged_")]
    measures = pd.read_csv(zoo_board.parent / "measures.csv")
    assert {"auroc", "suspicion", "attack_success_rate@int8"} <= set(measures["name"])
    for name in ("repairs-0", "repairs-1", "detectors"):
        assert all(
            (zoo_board.parent / "figures" / f"{name}.{kind}").stat().st_size > 0 for kind in ("pdf", "svg", "png")
        )


def test_markdown_tables_hold_together(zoo_board: Path) -> None:
    text = (zoo_board.parent / "tables.md").read_text(encoding="utf-8")
    assert "| PAR | clean pairs, a copy of the model | 68.2 | 68.2 / 2.9 (PA 66.2, net +0.8) |" in text
    blocks = [block for block in text.split("\n\n") if block.startswith("|")]
    assert len(blocks) >= 9
    for block in blocks:
        widths = {len(re.findall(r"(?<!\\)\|", line)) for line in block.strip().splitlines()}
        assert len(widths) == 1, block[:200]


def test_hostile_texts_stay_texts(tmp_path: Path) -> None:
    cells = [fake_zoo.cell("mmcl", "none"), fake_zoo.cell("mmcl", f"badnet(x={fake_suite.HOSTILE})")]
    cells.append(fake_zoo.cell("mmcl", cells[1]["attack"], detector=f"strip(x={fake_suite.HOSTILE})"))
    store = Store(tmp_path / "store")
    fake_zoo.write(store, cells[:1])
    bad = fake_suite.record(cells[2], "default", status="not_applicable", reason=f"{fake_suite.HOSTILE}\n| a | `b`")
    draft = store.draft("record", cells[2]["record"])
    pq.write_table(pa.Table.from_pylist([bad], schema=RECORDS), draft.path("records.parquet"))
    draft.commit({})
    document = store.read_json("suites/zoo.json")
    assert document is not None
    card = {"title": fake_suite.HOSTILE, "needs": [fake_suite.HOSTILE], "unit": "input", "summary": fake_suite.HOSTILE}
    document |= {"cells": cells, "methods": {"detector": {cells[2]["detector"]: card}}}
    store.write_json("suites/zoo.json", document)
    page = page_of(store, "zoo", tmp_path / "board")
    assert fake_suite.HOSTILE not in page
    assert page.count("<script>") == 1
    tables = (tmp_path / "board" / "tables.md").read_text(encoding="utf-8")
    assert "<script>" not in re.sub(r"\\<", "", tables)
    assert escape("a|b\n*c*") == r"a\|b \*c\*"
