"""Threads of torch: how they wait, said before torch is loaded, and how many there are; a user's own word stands."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from benchmark.cli import app
from benchmark.engine import local
from benchmark.errors import UserError
from tests.helpers.tiny import model, tensors

pytestmark = pytest.mark.unit
NAMES = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")
SHOW = f"import benchmark, os; print([os.environ.get(name) for name in {NAMES!r}])"


def shown(code: str = SHOW, **own: str) -> str:
    environment = {name: value for name, value in os.environ.items() if name not in NAMES} | own
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_threads_spin_briefly() -> None:
    assert shown() == "['1000', None]"


@pytest.mark.parametrize(
    ("own", "found"),
    [
        ({"GOMP_SPINCOUNT": "7"}, "['7', None]"),
        ({"OMP_WAIT_POLICY": "ACTIVE"}, "[None, 'ACTIVE']"),
    ],
    ids=["spin count", "wait policy"],
)
def test_what_a_user_set_stands(own: dict[str, str], found: str) -> None:
    assert shown(**own) == found


def test_it_is_said_before_torch_is_loaded() -> None:
    """libgomp prints what it read when it was loaded."""
    code = "import benchmark.training.step"
    environment = {name: value for name, value in os.environ.items() if name not in NAMES}
    environment["OMP_DISPLAY_ENV"] = "verbose"
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    if "GOMP_SPINCOUNT" not in done.stderr:
        pytest.skip("torch runs on another OpenMP than libgomp here")
    assert "GOMP_SPINCOUNT = '1000'" in done.stderr


def run_here(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """What a command that ends with a user's mistake says, without OMP_NUM_THREADS."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(sys, "argv", ["backstop", *words])
    with pytest.raises(SystemExit):
        app.main()
    return capsys.readouterr().err.strip()


@pytest.mark.parametrize(("name", "threads"), [("tiny-resnet", 1), ("small-resnet", None)])
def test_a_local_run_takes_one_thread_for_a_tiny_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, threads: int | None
) -> None:
    def stop(*given: Any, **options: Any) -> None:
        raise UserError(f"threads {options['threads']}")

    monkeypatch.setattr(local, "LocalExecutor", stop)
    words = ("run", "smoke", "--local", "--quiet", "--set", f"model.name={name}", "--store", str(tmp_path / "store"))
    assert run_here(monkeypatch, capsys, *words) == f"backstop: threads {threads}"


def test_an_audit_takes_one_thread_for_a_tiny_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stop(number: int) -> None:
        raise UserError(f"threads {number}")

    save_file(tensors(model()), tmp_path / "bare.safetensors")
    (tmp_path / "images" / "ring").mkdir(parents=True)
    Image.new("RGB", (32, 32)).save(tmp_path / "images" / "ring" / "0.png")
    monkeypatch.setattr(torch, "set_num_threads", stop)
    words = ("audit", str(tmp_path / "bare.safetensors"), "--data", str(tmp_path / "images"), "--model", "tiny-resnet")
    said = run_here(monkeypatch, capsys, *words, "--out", str(tmp_path / "audit"), "--store", str(tmp_path / "store"))
    assert said.splitlines()[-1] == "backstop: threads 1"
