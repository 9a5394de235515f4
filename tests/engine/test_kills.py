"""Killed at random moments a run ends in the records of an undisturbed one; meanwhile the board tells the truth."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path

import pytest

import benchmark as bm
from benchmark.store.artifacts import Store
from reports.board import write_board
from tests.helpers.kills import CELLS, kill_once
from tests.helpers.miniature import is_undisturbed, run, start


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_random_moments_leave_no_trace_in_the_records(tmp_path: Path, miniature_store: Path) -> None:
    killed, draw = tmp_path / "killed", random.Random(1)
    moments = [(draw.randint(0, 6), draw.uniform(0, 1.5)) for _ in range(4)]
    found = [kill_once(killed, "--local", after=after, later_s=later) for after, later in moments]
    assert sum(there is not None for there in found) >= 3
    run(killed, "--local", *CELLS)
    assert is_undisturbed(killed, miniature_store, cells=6)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_after_a_kill_the_board_shows_what_was_done_and_what_is_missing(tmp_path: Path) -> None:
    process = start(tmp_path, "--local", *CELLS)
    while process.poll() is None and not list(tmp_path.glob("record/*/manifest.json")):
        time.sleep(0.02)
    assert process.poll() is None
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    cells = bm.load_results(tmp_path, "smoke").cells
    done, missing = cells[cells["status"] == "ok"], cells[cells["status"] == "missing"]
    assert 1 <= done["cell"].nunique() < 6
    assert done["cell"].nunique() + missing["cell"].nunique() == 24
    assert done["clean_accuracy"].between(0, 1).all()
    page = write_board(Store(tmp_path), "smoke", tmp_path / "board").read_text(encoding="utf-8")
    assert "missing" in page
    assert (tmp_path / "board" / "records.csv").read_text().count(str(done["cell"].iloc[0])) >= 1
