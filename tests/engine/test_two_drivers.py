"""Two drivers on one store divide the work; what a dead one had claimed is made by the other."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmark.stages.finish import Record, record_node
from benchmark.stages.keys import cells_of
from benchmark.stages.node import Ended, Ref, Workplace
from benchmark.store.artifacts import Store
from tests.helpers.finished import SUITE
from tests.helpers.naps import NUM_NAPS

pytestmark = pytest.mark.unit
EVERY = sorted([*(f"k{number}" for number in range(NUM_NAPS)), "last"])


def start(store: Path) -> subprocess.Popen[str]:
    words = [sys.executable, "-m", "tests.helpers.naps", str(store)]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(driver: subprocess.Popen[str]) -> list[str]:
    made, complaints = driver.communicate(timeout=120)
    assert driver.returncode == 0, complaints
    return made.split()


def test_two_drivers_make_everything_once_and_both_see_it_all(tmp_path: Path) -> None:
    first, second = start(tmp_path), start(tmp_path)
    made = finish(first), finish(second)
    assert sorted(made[0] + made[1]) == EVERY
    assert all(len(own) > 1 for own in made)
    assert len(list(tmp_path.glob("nap/*/*/nap.txt"))) == len(EVERY)
    assert [path for path in (tmp_path / "claims").rglob("*") if path.is_file()] == []


def test_what_a_killed_driver_had_claimed_is_made_by_the_next(tmp_path: Path) -> None:
    first = start(tmp_path)
    assert first.stdout is not None
    begun = [first.stdout.readline().strip() for _ in range(2)]
    while first.poll() is None and not list((tmp_path / "claims" / "nap").iterdir()):  # between two naps
        time.sleep(0.01)
    os.kill(first.pid, signal.SIGKILL)
    first.communicate()
    assert list((tmp_path / "claims" / "nap").iterdir())
    made = finish(start(tmp_path))
    assert not set(begun) & set(made)
    assert {file.parents[1].name for file in tmp_path.glob("nap/*/*/nap.txt")} == set(EVERY)


def test_a_record_that_another_driver_has_finished_is_not_written_again(tmp_path: Path) -> None:
    store, cell = Store(tmp_path), cells_of(SUITE)[0]
    facts = {"statuses": {"undefended": "ok"}, "final": True}
    store.draft("record", cell.keys.record).commit(facts)
    node = record_node(cell)
    failed = Ended("failed", "of this driver alone")
    at = Workplace(store, ended={Ref("select", cell.keys.record): failed})
    assert Record().run([node], at) == {"statuses": {"undefended": "ok"}}
    assert store.facts("record", cell.keys.record) == facts
