"""Threads of torch wait briefly, which must be said before torch is loaded; a user's own word stands."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

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
