"""What a board reads: numbers of metrics that came after the records, and tables of older schemas."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmark.errors import UserError
from benchmark.store.artifacts import Store
from benchmark.store.schemas import ADDED, MEASURES, RECORDS, TRIALS
from benchmark.types import Measure, proportion
from reports.columns import decode
from reports.compile import compile_suite
from reports.stored import read_suite, read_table
from tests.helpers import fake_suite
from tests.helpers.pages import page_of
from tests.helpers.recompute import grid_of, table_data

CELLS = fake_suite.grid((fake_suite.BADNET,), (0,))
ATTACKED = fake_suite.find(CELLS, "mmcl", fake_suite.BADNET, "fine-tuning")
HERS = {"metric": "her-metric", "unit": "images", "lower": 0.0, "upper": None, "higher_is_better": False}


def measure(store: Store, key: str, cell: str, *found: Measure) -> None:
    """A `measure` artifact with numbers of one cell's default row."""
    rows = [{"cell": cell, "selection": "default", **item._asdict()} for item in found]
    draft = store.draft("measure", key)
    pq.write_table(pa.Table.from_pylist(rows, schema=MEASURES), draft.path("measures.parquet"))
    draft.commit({"metric": {"name": "her-metric", "version": 1, "fields": {}}, "cells": [cell]})


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store(tmp_path / "store")
    fake_suite.write(made, CELLS)
    return made


def numbers(store: Store, name: str) -> Any:
    found = compile_suite(store, "demo").measures
    return found[found["name"] == name]


def test_a_metric_that_came_later_stands_beside_the_record_in_the_table(store: Store, tmp_path: Path) -> None:
    later = Measure("images_until_mended", "zero_shot", 17.0, -1, 40, 1)._replace(**HERS)
    measure(store, "a" * 32, ATTACKED["record"], later)
    measure(store, "b" * 32, "0" * 32, later._replace(value=99.0))  # of a cell that another suite has
    page = page_of(store, "demo", tmp_path / "board")
    table = pd.read_csv(tmp_path / "board" / "measures.csv")
    (row,) = table[table["name"] == "images_until_mended"].to_dict("records")
    assert (row["cell"], row["selection"], row["value"]) == (ATTACKED["cell"], "default", 17.0)
    assert {name: row[name] for name in ("metric", "unit", "lower", "higher_is_better")} == {
        name: HERS[name] for name in ("metric", "unit", "lower", "higher_is_better")
    }
    assert pd.isna(row["upper"])
    assert row["source"] == f"measure/{'a' * 32}"
    assert set(table["source"]) == {"record", row["source"]}
    further = table_data(page)["further"]
    (number,) = (place for place, one in enumerate(further) if one["title"] == "Her metric")
    assert further[number]["columns"] == ["Images until mended (images)\u00a0↓"]
    text = (tmp_path / "board" / "columns" / f"{number}.js").read_text(encoding="utf-8")
    (column,) = json.loads(text.removeprefix(f"backstop.columns({number}, ").removesuffix(");\n"))
    length = len(grid_of(page))
    values = zip(decode(column["sort"], length), decode(column["text"], length), grid_of(page), strict=True)
    found = [(sort, text, row["key"]) for sort, text, row in values if sort is not None]
    assert found == [(17, "17 (of 40)", ATTACKED["cell"])]
    tables = (tmp_path / "board" / "tables.md").read_text(encoding="utf-8")
    assert "## Her metric" in tables


@pytest.mark.parametrize(
    ("metric", "version", "expected"),
    [("", 1, "record"), ("", 2, f"measure/{'a' * 32}"), ("her-metric", 9, "record")],
    ids=["same", "newer", "of another metric"],
)
def test_the_higher_version_of_a_metric_stands_and_else_the_records_own(
    store: Store, metric: str, version: int, expected: str
) -> None:
    later = proportion("clean_accuracy", "zero_shot", 1, 2000)._replace(version=version, metric=metric)
    measure(store, "a" * 32, ATTACKED["record"], later)
    found = numbers(store, "clean_accuracy").merge(compile_suite(store, "demo").cells, on="row")
    found = found[(found["record"] == ATTACKED["record"]) & (found["readout"] == "zero_shot")]
    assert found["source"].tolist() == [expected]
    assert (found["clean_accuracy"] == found["value"]).all()
    assert (found["value"] == 1 / 2000).all() == (expected != "record")


def test_of_two_artifacts_with_one_version_the_newer_stands(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    for key, moment, value in (("b" * 32, "20260101T000000", 1.0), ("a" * 32, "20260102T000000", 2.0)):
        monkeypatch.setattr("benchmark.store.artifact.time.strftime", lambda _, at=moment: at)
        measure(store, key, ATTACKED["record"], Measure("hers", "zero_shot", value, -1, 40)._replace(**HERS))
    assert numbers(store, "hers")["value"].tolist() == [2.0]


@pytest.mark.parametrize("schema", [RECORDS, TRIALS], ids=["records", "trials"])
def test_a_table_without_the_added_columns_is_read_and_one_without_others_is_refused(
    tmp_path: Path, schema: pa.Schema
) -> None:
    searched = fake_suite.find(CELLS, "mmcl", fake_suite.BADNET, "cleanclip")
    rows = fake_suite.rows_of(searched) if schema is RECORDS else fake_suite.trials(searched)
    table = pa.Table.from_pylist(rows, schema=schema)
    if schema is RECORDS:
        rows = [{**row, "schema_version": 1} for row in rows]
        table = pa.Table.from_pylist(rows, schema=schema)
    older = table.select([name for name in table.column_names if not any(name in names for names in ADDED.values())])
    if "measures" in older.column_names:  # numbers of schema 3 had six fields
        six = pa.list_(pa.struct([(name, pa.struct(MEASURES).field(name).type) for name in Measure._fields[:6]]))
        older = older.set_column(older.column_names.index("measures"), "measures", older["measures"].cast(six))
    pq.write_table(older, tmp_path / "older.parquet")
    read = read_table(tmp_path / "older.parquet", schema)
    assert read.schema == schema
    for name in older.column_names:
        if name != "measures":
            assert read[name].to_pylist() == table[name].to_pylist(), name
    pq.write_table(older.drop_columns(["cell"]), tmp_path / "other.parquet")
    with pytest.raises(UserError, match="run the suite again"):
        read_table(tmp_path / "other.parquet", schema)


def test_each_column_of_all_records_is_one_piece_since_lookups_in_thousands_take_minutes(store: Store) -> None:
    stored = read_suite(store, CELLS)
    for table in (stored.records, stored.trials):
        assert len(table) > len(table["order"].unique()) > 1
        assert {column.num_chunks for column in table.columns} == {1}


def test_a_record_without_its_table_is_no_missing_cell(tmp_path: Path) -> None:
    store = fake_suite.make_store(tmp_path, CELLS)
    draft = store.draft("record", ATTACKED["record"])
    draft.commit({"final": True, "statuses": {"default": "ok"}})
    with pytest.raises(UserError, match=r"records\.parquet must be a table of this schema"):
        read_suite(store, CELLS)
