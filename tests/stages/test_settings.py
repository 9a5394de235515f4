"""What code of one method leaves behind in its process, and that the next one finds nothing of it."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmark.stages.settings import own_settings

pytestmark = pytest.mark.unit
# what a method may do, and what would be seen of it
LEFT: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {
    "threads": (lambda: torch.set_num_threads(torch.get_num_threads() + 1), torch.get_num_threads),
    "dtype": (lambda: torch.set_default_dtype(torch.float64), torch.get_default_dtype),
    "gradients": (lambda: torch.set_grad_enabled(False), torch.is_grad_enabled),
    "deterministic": (
        lambda: torch.use_deterministic_algorithms(True, warn_only=True),
        torch.get_deterministic_debug_mode,
    ),
    "matrices": (lambda: torch.set_float32_matmul_precision("medium"), torch.get_float32_matmul_precision),
    "device": (lambda: torch.set_default_device("meta"), lambda: torch.empty(1).device),
    "backend": (lambda: setattr(torch.backends.mkldnn, "enabled", False), lambda: torch.backends.mkldnn.enabled),
    "numpy": (lambda: np.seterr(all="raise"), np.geterr),
    "folder": (lambda: os.chdir("/"), os.getcwd),
    "environment": (lambda: os.environ.update(BACKSTOP_STORE="elsewhere"), lambda: os.environ.get("BACKSTOP_STORE")),
}


@pytest.mark.parametrize("name", LEFT)
def test_nothing_is_left_to_the_next_method(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    change, seen = LEFT[name]
    before = seen()
    with own_settings("a"):
        change()
        assert seen() != before
    assert seen() == before


def test_a_folder_that_is_removed_meanwhile_is_no_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    with own_settings("a"):
        gone.rmdir()
    with own_settings("a"):
        assert not gone.exists()


def fail_without_gradients() -> None:
    torch.set_grad_enabled(False)
    raise ZeroDivisionError


def test_nothing_is_left_by_a_method_that_fails() -> None:
    with pytest.raises(ZeroDivisionError), own_settings("a"):
        fail_without_gradients()
    assert torch.is_grad_enabled()


def drawn() -> tuple[float, float, float]:
    return float(torch.rand(())), float(np.random.rand()), random.random()  # noqa: NPY002


def seed() -> None:
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002
    random.seed(0)


def test_the_global_generators_follow_what_is_made_and_go_on_as_if_nothing_was() -> None:
    found = []
    for key in ("a", "a", "b"):
        with own_settings(key):
            found.append(drawn())
    assert found[0] == found[1]
    assert all(one != other for one, other in zip(found[0], found[2], strict=True))
    seed()
    alone = drawn(), drawn()
    seed()
    first = drawn()
    with own_settings("a"):
        drawn()
    assert (first, drawn()) == alone


def test_a_method_that_changes_nothing_costs_no_import() -> None:
    """Setters of torch that load its compiler would make every command wait for seconds."""
    code = (
        "import sys, torch\nfrom benchmark.stages.settings import own_settings\n"
        "with own_settings('a'): pass\n"
        "print([name for name in ('torch._dynamo', 'torch._inductor') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
