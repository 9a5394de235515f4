"""The list for the day of a GPU: goes on after a failure, keeps to time limits, says when there is no GPU."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch
from typer import Typer
from typer.testing import CliRunner

from benchmark.config.spec import Suite
from benchmark.perf.gpu import __main__ as gpu
from benchmark.perf.gpu import steps as listing
from benchmark.perf.gpu.bench import Measured, fitting
from benchmark.perf.gpu.compare import Result, lines
from benchmark.perf.gpu.question import miniature, suite
from benchmark.perf.gpu.steps import Options, Step, run_step, steps

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


def test_a_failure_does_not_stop_the_list_and_a_second_try_takes_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = [Step("smoke", command("raise SystemExit(3)")), Step("tests", command("print('well')"))]
    monkeypatch.setattr(listing, "steps", lambda options: tuple(listed))
    done = CliRunner().invoke(APP, ["--device", "cpu", "--out", str(tmp_path)])
    assert done.exit_code == 1
    assert statuses(tmp_path) == {"smoke": "failed", "tests": "ok"}
    listed[0] = Step("smoke", command("print('now')"))
    again = CliRunner().invoke(APP, ["--device", "cpu", "--out", str(tmp_path), "--only", "smoke"])
    assert (again.exit_code, statuses(tmp_path)) == (0, {"smoke": "ok", "tests": "ok"})


def statuses(folder: Path) -> dict[str, str]:
    return {step["name"]: step["status"] for step in json.loads((folder / "gpu.json").read_text())["steps"]}


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_without_a_gpu_it_says_so_in_one_line() -> None:
    done = CliRunner().invoke(APP, [])
    assert (done.exit_code, done.stdout.count("\n")) == (2, 1)


def test_nothing_is_compared_without_a_store_of_a_cpu() -> None:
    names = [[step.name for step in steps(Options(Path("out"), "cuda", cpu_store=store))] for store in (None, "there")]
    assert names == [["tests", "smoke", "bench", "question"], ["tests", "smoke", "compare", "bench", "question"]]
    done = CliRunner().invoke(APP, ["--device", "cpu", "--only", "compare"])
    assert (done.exit_code, done.stdout.count("\n")) == (2, 1)


def test_cells_of_two_stores_stand_side_by_side_and_one_alone_is_missing() -> None:
    there = {("mmcl", "badnet"): Result("ok", {"CA": 0.9, "ASR": 1.0}), ("mmcl", "none"): Result("ok", {"CA": 0.8})}
    here = {("mmcl", "badnet"): Result("ok", {"CA": 0.88, "ASR": 1.0})}
    first, second = lines(there, here)
    assert " ".join(first.split()) == "mmcl badnet CA 90.0 88.0 +2.0 ASR 100.0 100.0 +0.0 ok ok"
    assert " ".join(second.split()) == "mmcl none CA 80.0 - - ASR - - - ok missing"


def test_a_batch_is_halved_until_it_fits() -> None:
    tried = []

    def measure(batch: int) -> Measured:
        tried.append(batch)
        if batch > 256:
            raise torch.OutOfMemoryError
        return Measured([], float(batch))

    assert fitting(measure, 1024).pairs_per_s == 256
    assert tried == [1024, 512, 256]


def test_the_question_has_both_objectives_three_seeds_and_a_file_of_its_own_form() -> None:
    whole = suite(None, mmcl_epochs=3, ssl_epochs=5)
    assert Suite.from_dict(whole.to_dict()) == whole
    cells = whole.experiments()
    epochs = {(cell.objective.name, cell.pretrain.epochs) for cell in cells}
    assert (epochs, {cell.seed for cell in cells}) == ({("mmcl", 3), ("mmcl-ssl", 5)}, {0, 1, 2})
    assert sum(cell.search is not None for cell in cells) == 6
    assert len(miniature(whole).experiments()) == len(cells) / 3


@pytest.mark.slow
@pytest.mark.timeout(900)  # minutes where other work runs beside it
def test_every_step_runs_on_the_cpu_in_miniature(tmp_path: Path) -> None:
    own = str(tmp_path / "smoke" / "store")
    done = CliRunner().invoke(APP, ["--device", "cpu", "--tiny", "--out", str(tmp_path), "--cpu-store", own])
    assert done.exit_code == 0, done.stdout
    assert list(statuses(tmp_path)) == ["tests", "smoke", "compare", "bench", "question"]
    assert "+" not in (tmp_path / "compare" / "log.txt").read_text().replace("+0.0", "")
    assert len(json.loads((tmp_path / "bench" / "bench.json").read_text())) == 14
