"""A rebound over a suite that is finished: what a plan counts, what a run makes, and what is said of what is gone."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmark.cli import app
from benchmark.config.spec import Suite
from benchmark.engine.plan import StagePlan, plan
from benchmark.stages.every import stages_of
from benchmark.stages.keys import cells_of
from benchmark.store.artifacts import Store
from tests.engine.test_added_metric import COMMAND
from tests.helpers import rebounds

pytestmark = pytest.mark.unit


class Finished:
    """A finished store, its suite as a file, and the command on both."""

    def __init__(self, root: Path, capsys: pytest.CaptureFixture[str], patch: pytest.MonkeyPatch) -> None:
        self.suite: Suite = rebounds.suite()
        self.store = rebounds.finish(root / "store", self.suite)
        self.file = root / "made-up.json"
        self.file.write_text(json.dumps(self.suite.to_dict()))
        self._capsys, self._patch = capsys, patch

    def words(self, command: str, *more: str) -> list[str]:
        return [command, str(self.file), *more, "--store", self.store.root]

    def do(self, command: str, *more: str, code: int = 0) -> tuple[str, str]:
        self._patch.setattr(sys, "argv", ["backstop", *self.words(command, *more)])
        with pytest.raises(SystemExit) as end:
            app.main()
        assert int(end.value.code or 0) == code
        return self._capsys.readouterr()

    def planned(self) -> StagePlan:
        cells = cells_of(self.suite)
        return next(
            one for one in plan(self.store, cells, stages=stages_of(self.suite)).stages if one.stage == "rebound"
        )

    def manifests(self) -> dict[str, int]:
        return {str(file): file.stat().st_mtime_ns for file in Path(self.store.root).glob("*/*/manifest.json")}


@pytest.fixture
def done(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Finished:
    return Finished(tmp_path, capsys, monkeypatch)


def test_a_plan_counts_what_is_missing_of_a_finished_suite_and_none_of_what_is_there(done: Finished) -> None:
    before = done.planned()
    assert (before.total, before.found) == (6, 0)
    # of each: a view of each pair of 20 steps of 16, and three looks at clean and triggered test images at a third
    assert before.work == pytest.approx(6 * (20 * 16 + 3 * 2 * done.suite.splits.test / 3))
    rebounds.grow_all(done.store, done.suite)
    after = done.planned()
    assert (after.total, after.found, after.work) == (6, 6, 0.0)


def test_a_plan_of_a_fresh_suite_counts_as_many(done: Finished, tmp_path: Path) -> None:
    fresh = plan(Store(tmp_path / "empty"), cells_of(done.suite), stages=stages_of(done.suite))
    (found,) = (one for one in fresh.stages if one.stage == "rebound")
    assert found[2:5] == done.planned()[2:5]
    without = done.suite.model_copy(update={"rebound": None})
    assert not any(one.stage == "rebound" for one in plan(done.store, [], stages=stages_of(without)).stages)


def test_a_run_with_all_trajectories_makes_nothing_and_loads_nothing_heavy(done: Finished) -> None:
    rebounds.grow_all(done.store, done.suite)
    before = done.manifests()
    command = [sys.executable, "-c", COMMAND, *done.words("run")]
    found = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "rebound: 6 ok" in found.stdout
    assert found.stderr.splitlines()[-1] == "[]"  # neither torch nor Ray
    assert done.manifests() == before


def test_weights_that_are_gone_are_one_line_and_cost_nothing_else(done: Finished) -> None:
    rebounds.grow_all(done.store, done.suite)
    shutil.rmtree(Path(done.store.root) / "defend")
    before = done.manifests()
    out, _ = done.do("run")
    assert "rebound: 1 not applicable" in out
    (line,) = (line for line in out.splitlines() if "not in this store" in line)
    assert "the repaired weights are not in this store; to fine-tune them, name a store that has them" in line
    assert done.manifests() == before
    assert done.planned().total == 0


def test_status_tells_how_many_trajectories_are_there(done: Finished) -> None:
    rebounds.grow_all(done.store, done.suite)
    out, _ = done.do("status")
    assert out.splitlines()[-1] == "rebound: 6 trajectories there"
    out, _ = done.do("status", "--json")
    told: dict[str, Any] = json.loads(out)
    assert told["rebound"] == {"there": 6, "running": 0, "failed": 0}


def test_trajectories_are_copied_with_their_suite(done: Finished, tmp_path: Path) -> None:
    keys = rebounds.grow_all(done.store, done.suite)
    words = ["store", "pull", done.suite.name, "--stage", "rebound", "--from", done.store.root]
    command = [sys.executable, "-m", "benchmark.cli", *words, "--store", str(tmp_path / "copy")]
    subprocess.run(command, capture_output=True, text=True, check=True)
    assert sorted(keys) == Store(tmp_path / "copy").keys("rebound")


def test_a_time_limit_may_name_the_stage(done: Finished) -> None:
    rebounds.grow_all(done.store, done.suite)
    done.do("run", "--time-limit", "rebound=1h")
    _, complaint = done.do("run", "--time-limit", "rebund=1h", code=2)
    assert "rebound" in complaint
