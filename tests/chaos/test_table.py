"""What `make chaos` calls good, and what it prints."""

from __future__ import annotations

import signal
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.__main__ import good, main, once, table
from tests.chaos.attempt import EVERY, LOCAL, Attempt, Hung
from tests.chaos.fault import Fault
from tests.chaos.faults import FAULTS

pytestmark = pytest.mark.unit
FINE: dict[str, Any] = {
    "fault": "byte",
    "number": 0,
    "done": "one byte",
    "code": 0,
    "equal": True,
    "left": [],
    "traceback": False,
    "seconds": 9.0,
}


@pytest.mark.parametrize(
    "wrong",
    [{"equal": False, "differs": "rc 1"}, {"left": ["process ray::Worker"]}, {"traceback": True}],
    ids=lambda item: next(iter(item)),
)
def test_a_run_is_good_that_ends_in_equal_records_leaves_nothing_and_shows_no_traceback(wrong: dict[str, Any]) -> None:
    assert good(FINE)
    assert not good(FINE | wrong)
    assert table([FINE, FINE | wrong])[-1] == "2 faults: 1 as it should be; 0 came too late; 0 min"


def test_a_fault_that_came_too_late_is_told_and_not_counted() -> None:
    late = {"fault": "driver", "number": 7, "missed": "the run\nhad ended", "seconds": 12.0}
    lines = table([FINE, late])
    assert lines[-1] == "1 faults: 1 as it should be; 1 came too late; 0 min"
    assert "| driver 7 | came too late: the run had ended |" in lines[-3]


def test_there_are_at_least_fifty_faults_each_with_a_name_of_its_own() -> None:
    assert sum(fault.times for fault in FAULTS) >= 50
    assert Counter(fault.name for fault in FAULTS).most_common(1)[0][1] == 1


def test_an_unknown_fault_is_refused_before_anything_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--only", "disk,dsik", "--out", str(tmp_path / "out")])
    assert caught.value.code == 2
    assert "got dsik" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_store_that_lacks_an_artifact_is_not_equal_to_the_undisturbed_one(tmp_path: Path) -> None:
    calm = tmp_path / "calm"
    (calm / "data" / "k").mkdir(parents=True)
    (calm / "data" / "k" / "manifest.json").write_text("{}")
    with Attempt(LOCAL, calm) as run:
        run.root.mkdir()
        assert run.differs() == "1 artifacts missing, 0 more: [('data', 'k', 'manifest.json')]"
        assert run.running() == []
    assert not run.folder.exists()


def test_a_command_that_does_not_end_is_given_up_and_nothing_of_it_is_left(tmp_path: Path) -> None:
    with Attempt(LOCAL, tmp_path) as run:
        with run.marked():
            process = subprocess.Popen(["sleep", "60"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        run.processes.append(process)
        with pytest.raises(Hung, match="no end within 0 s"):
            run.end(process, limit_s=0.1)
        assert run.running("sleep 60", first=True) == [process.pid]
        assert run.running("sleep 60", child_of=1) == []
    assert process.returncode == -signal.SIGKILL


@pytest.mark.parametrize("error", [Hung("no end within 600 s"), subprocess.CalledProcessError(1, "mount")])
def test_a_fault_that_hangs_or_breaks_is_told_and_the_table_goes_on(tmp_path: Path, error: Exception) -> None:
    def inject(run: Attempt, again: int) -> str:
        raise error

    (tmp_path / EVERY.name).mkdir()
    result = once(Fault("broken", LOCAL, 1, inject), tmp_path, 0)
    assert not good(result)
    assert str(error) in result["differs"]
    assert table([result])[-1] == "1 faults: 0 as it should be; 0 came too late; 0 min"
