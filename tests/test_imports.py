"""What light commands must not load; what looks like a method is one. import-linter holds who imports whom."""

from __future__ import annotations

import pkgutil
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path

import pytest

from benchmark.config import registry

pytestmark = pytest.mark.unit
ROOT = Path(__file__).parents[1]
HEAVY = ("open_clip", "ray", "torch")


def _registered(kind: str) -> set[str]:
    """First part below the kind's folder of every registered target: a file, or a folder of the method's name."""
    points = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"][f"backstop.{kind}"]
    return {target.partition(":")[0].split(".")[2] for target in points.values()}


@pytest.mark.parametrize("kind", registry.KINDS)
def test_every_name_of_a_kind_without_an_underscore_is_registered(kind: str) -> None:
    folder = ROOT / "benchmark" / f"{kind}s"
    there = {module.name for module in pkgutil.iter_modules([str(folder)]) if not module.name.startswith("_")}
    assert there == _registered(kind)


def _loaded_by(code: str, packages: Sequence[str] = HEAVY) -> list[str]:
    """Which of these packages a fresh interpreter has loaded after this code."""
    tail = f"\nimport sys\nprint('LOADED', *[name for name in {packages!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code + tail], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.rpartition("LOADED")[2].split()


def test_importing_all_of_reports_loads_nothing_heavy() -> None:
    modules = [module.name for module in pkgutil.walk_packages([str(ROOT / "reports")], "reports.")]
    assert modules
    assert _loaded_by(f"import {', '.join(modules)}") == []


API = {
    "the package": "import benchmark",
    "base classes": "from benchmark import Attack, Card, NotApplicable, Range, Repair, Training, load_results, run",
    "methods": "from benchmark.repairs import CleanCLIP, InverTune; from benchmark.detectors import DAO; DAO()",
    "functions": "import benchmark.api",
}


@pytest.mark.parametrize("name", API)
def test_what_the_package_offers_loads_nothing_heavy(name: str) -> None:
    assert _loaded_by(API[name]) == []


def test_plans_and_status_wait_for_no_tables() -> None:
    assert _loaded_by("import benchmark.cli.plan, benchmark.cli.status, benchmark.engine.suites", ("pandas",)) == []


@pytest.mark.parametrize("words", [["--help"], ["list"], ["plan", "smoke"], ["show", "smoke"]])
def test_looking_loads_nothing_heavy(words: list[str]) -> None:
    no_wait = "from benchmark.engine import probe\nprobe.PATIENCE_S = 0.0\n"  # its process is tried elsewhere
    run = f"import sys\nfrom benchmark.cli import app\nsys.argv = ['backstop', *{words!r}]\n{no_wait}"
    assert _loaded_by(f"{run}try: app.main()\nexcept SystemExit: pass") == []
