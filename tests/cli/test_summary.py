"""The last lines of a run: what failed and why, each reason once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmark.cli.summary import failures, tell
from benchmark.engine.running import Ran
from benchmark.store.artifacts import Store

pytestmark = pytest.mark.unit


def test_the_reasons_that_befell_most_come_first_and_the_rest_is_counted() -> None:
    found = [("failed", "a")] * 3 + [("out_of_memory", "2 GiB")] * 5 + [("failed", "")] * 2
    found += [("failed", "b"), ("failed", "c")]
    assert failures(found) == [
        "5 out of memory: 2 GiB",
        "3 failed: a",
        "2 failed: no reason told",
        "and 2 more, for 2 other reasons",
    ]
    assert failures(found[:3]) == ["3 failed: a"]
    assert failures([]) == []


def test_json_has_every_reason_with_how_many_rows_it_befell(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = [("failed", "a"), ("out_of_memory", "2 GiB"), ("failed", "b"), ("out_of_memory", "2 GiB"), ("failed", "")]
    ran = Ran("mine", 6, 6, ["failed"] * 3 + ["ok"] + ["out_of_memory"] * 2, 1.0, {}, found)
    assert tell(ran, Store(tmp_path), as_json=True) == 1
    assert json.loads(capsys.readouterr().out)["failures"] == [
        {"status": "out_of_memory", "reason": "2 GiB", "rows": 2},
        {"status": "failed", "reason": "a", "rows": 1},
        {"status": "failed", "reason": "b", "rows": 1},
        {"status": "failed", "reason": "", "rows": 1},
    ]


def test_what_is_not_there_is_said_with_what_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ran = Ran("mine", 3, 3, ["ok", "failed", "missing"], 61.0, {}, [("failed", "KeyError: 'x'")])
    assert tell(ran, Store(tmp_path), as_json=False) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("mine: 3 cells, 2 records (1 ok, 1 failed) in 1:01 min")
    assert lines[1:4] == [
        "1 failed: KeyError: 'x'",
        "1 missing: no record was written",
        "to try again what failed or is missing: the same command",
    ]
    assert lines[-1].startswith("to see them: backstop board mine")


def test_a_board_is_told_of_the_stores_behind_where_its_records_may_lie(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Store(tmp_path / "theirs").write_json("a.json", {})
    tell(Ran("mine", 1, 1, ["ok"], 1.0), Store(tmp_path / "own", read_only=(f"{tmp_path}/theirs",)), as_json=False)
    assert capsys.readouterr().out.splitlines()[-1].endswith(f" --store {tmp_path}/own --from {tmp_path}/theirs")
