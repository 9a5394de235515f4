"""What a record says of its making: the code's commit and its changes, and what rounding depends on."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import torch

import benchmark
from benchmark.stages.common import Compute
from benchmark.stages.environment import checkout, code, environment, numerics


def git(root: Path, *words: str) -> str:
    author = ("-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false")
    done = subprocess.run(["git", "-C", root, *author, *words], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "benchmark").mkdir()
    (tmp_path / "benchmark" / "code.py").write_text("x = 1\n")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-qm", "one")
    return tmp_path


def test_a_checkout_is_named_by_its_commit(root: Path) -> None:
    assert checkout(root) == {"commit": git(root, "rev-parse", "HEAD"), "dirty": False}


@pytest.mark.parametrize("name", ["benchmark/code.py", "benchmark/new.py"])
def test_changed_and_new_files_of_the_code_are_told(root: Path, name: str) -> None:
    (root / name).write_text("x = 2\n")
    assert checkout(root)["dirty"] is True


def test_other_files_do_not_change_the_code(root: Path) -> None:
    (root / "notes.txt").write_text("remember")
    assert checkout(root)["dirty"] is False


def test_a_package_inside_another_projects_checkout_has_no_commit(root: Path) -> None:
    inside = root / "site-packages"
    inside.mkdir()
    assert checkout(inside) == {"commit": None, "dirty": None}


def test_without_git_there_is_a_version_and_no_commit(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert checkout(root) == {"commit": None, "dirty": None}


def test_the_environment_holds_what_equal_bits_ask_for() -> None:
    found = environment(Compute(micro_batch=32))
    assert found["torch"] == torch.__version__  # with the build, which the package index does not name
    assert found["threads"] == torch.get_num_threads()
    assert (found["micro_batch"], found["device"]) == (32, "cpu")
    assert found["cpu_capability"] == torch.backends.cpu.get_cpu_capability()
    assert found["code"] == code() and found["code"]["version"] == benchmark.__version__
    assert numerics(Compute(micro_batch=32)).items() <= found.items()
