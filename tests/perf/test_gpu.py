"""The list for the day of a GPU: goes on after a failure, keeps to time limits, says when there is no GPU."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch
from typer import Typer
from typer.testing import CliRunner

from benchmark.perf import gpu
from benchmark.perf.gpu import Step, run_step

pytestmark = pytest.mark.unit
APP = Typer()
APP.command()(gpu.main)


def command(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def test_a_step_is_ok_failed_or_out_of_time(tmp_path: Path) -> None:
    found = [
        run_step(Step("good", command("print('well')")), tmp_path, limit_s=30),
        run_step(Step("bad", command("raise SystemExit(3)")), tmp_path, limit_s=30),
        run_step(Step("slow", command("import time; time.sleep(60)")), tmp_path, limit_s=0.5),
    ]
    assert [item.status for item in found] == ["ok", "failed", "timeout"]
    assert found[0].last_line == (tmp_path / "good" / "log.txt").read_text().strip() == "well"


def test_a_failure_does_not_stop_the_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listed = (Step("bad", command("raise SystemExit(3)")), Step("good", command("print('well')")))
    monkeypatch.setattr(gpu, "steps", lambda folder, tiny: listed)
    done = CliRunner().invoke(APP, ["--device", "cpu", "--out", str(tmp_path)])
    assert done.exit_code == 1
    assert [step["status"] for step in json.loads((tmp_path / "gpu.json").read_text())["steps"]] == ["failed", "ok"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_without_a_gpu_it_says_so_in_one_line() -> None:
    done = CliRunner().invoke(APP, [])
    assert (done.exit_code, done.stdout.count("\n")) == (2, 1)


@pytest.mark.slow
def test_every_step_runs_on_the_cpu_in_miniature(tmp_path: Path) -> None:
    done = CliRunner().invoke(APP, ["--device", "cpu", "--tiny", "--out", str(tmp_path)])
    assert done.exit_code == 0, done.stdout
