"""A process that dies without a word has the line said for it; one that comes to any end of its own does not."""

from __future__ import annotations

import subprocess
import sys

import pytest

from benchmark.engine.watchman import LINE

pytestmark = pytest.mark.unit
RUN = "import os, signal, subprocess\nfrom benchmark.engine.watchman import watched\nwith watched():\n    {}"


def said(does: str) -> tuple[int, str]:
    done = subprocess.run([sys.executable, "-c", RUN.format(does)], capture_output=True, text=True, check=False)
    return done.returncode, done.stderr


@pytest.mark.parametrize("does", ["os._exit(1)", "os.kill(os.getpid(), signal.SIGKILL)"])
def test_an_end_from_outside_is_one_line(does: str) -> None:
    code, line = said(does)
    assert code != 0
    assert line == f"{LINE}\n"


def test_the_line_is_said_though_children_of_the_run_live_on() -> None:
    """They hold none of its files: a worker that outlives its driver must not keep the line back."""
    code, line = said(
        "subprocess.Popen(['sleep', '3'], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL); os._exit(1)"
    )
    assert (code, line) == (1, f"{LINE}\n")


@pytest.mark.parametrize("does", ["pass", "raise SystemExit(3)", "raise KeyboardInterrupt"])
def test_an_end_of_its_own_is_left_alone(does: str) -> None:
    assert LINE not in said(does)[1]
