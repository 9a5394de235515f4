"""The direction of imports: who may import whom, and what the light commands must not load."""

from __future__ import annotations

import ast
import pkgutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

import pytest

pytestmark = pytest.mark.unit
ROOT = Path(__file__).parents[1]
TOP_LEVEL = ("benchmark", "reports", "suites", "tuners")
HEAVY = ("open_clip", "ray", "torch")
# Where all packages meet: what drives a suite and what the command does. Everything else points one way.
DRIVERS = (
    "choosing.py",
    "cli.py",
    "commands.py",
    "executors.py",
    "ray_executor.py",
    "ray_worker.py",
    "runner.py",
    "tasking.py",
)
METHOD_KINDS = ("attack", "detector", "metric", "objective", "repair")


def _imports(file: Path) -> Iterator[str]:
    """Full names of all that a file imports, at its top or inside a function, for types or for use."""
    package = file.relative_to(ROOT).parent.parts
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            source = ".".join((*base, *([node.module] if node.module else [])))
            # `from benchmark import registry` names a module, `from benchmark.types import Attack` a thing in one.
            yield from (f"{source}.{alias.name}" for alias in node.names)


def _files(*folders: str) -> list[Path]:
    return sorted(file for folder in folders for file in (ROOT / folder).rglob("*.py"))


def _within(name: str, *allowed: str) -> bool:
    return any(name == module or name.startswith(f"{module}.") for module in allowed)


def _breaches(files: list[Path], *, of: tuple[str, ...], allowed: tuple[str, ...] = ()) -> list[str]:
    """Imports of the packages `of` that are not among the allowed ones."""
    return [
        f"{file.relative_to(ROOT)} imports {name}"
        for file in files
        for name in _imports(file)
        if _within(name, *of) and not _within(name, *allowed)
    ]


def _method_files() -> list[Path]:
    points = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]
    targets = [target for kind in METHOD_KINDS for target in points[f"backstop.{kind}"].values()]
    return sorted({ROOT / f"{target.partition(':')[0].replace('.', '/')}.py" for target in targets})


def test_the_reader_of_imports_sees_every_form(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    file = tmp_path / "benchmark" / "attacks" / "sample.py"
    file.parent.mkdir(parents=True)
    file.write_text(
        "import ray.tune as t\nfrom benchmark import registry\nfrom ..types import Card\ndef f():\n import torch"
    )
    assert set(_imports(file)) == {"ray.tune", "benchmark.registry", "benchmark.types.Card", "torch"}


def test_the_engine_imports_none_of_the_packages_above_it() -> None:
    above = ("reports", "suites", "tuners")
    bench = ROOT / "benchmark" / "bench"
    engine = [file for file in _files("benchmark") if file.name not in DRIVERS and bench not in file.parents]
    assert _breaches(engine, of=above) == []


def test_reports_know_of_the_engine_only_what_is_light() -> None:
    # tuners.pareto is arithmetic on arrays, so that the front is defined once for the search and the board.
    light = ("benchmark.records", "benchmark.identity", "benchmark.store", "benchmark.errors", "tuners.pareto")
    assert _breaches(_files("reports"), of=("benchmark", *HEAVY, "suites", "tuners"), allowed=light) == []


def test_ray_is_imported_in_few_places() -> None:
    patterns = ("benchmark/ray_*.py", "benchmark/bench/search.py", "tuners/*.py")
    elsewhere = [f for f in _files(*TOP_LEVEL) if not any(fnmatch(f.relative_to(ROOT).as_posix(), p) for p in patterns)]
    assert _breaches(elsewhere, of=("ray",)) == []


def test_open_clip_is_imported_in_one_place() -> None:
    elsewhere = [file for file in _files(*TOP_LEVEL) if file != ROOT / "benchmark" / "clip.py"]
    assert _breaches(elsewhere, of=("open_clip",)) == []


def test_methods_know_of_the_engine_only_types_and_neighbours() -> None:
    shared = ("types", "randomness", "records", "errors", "words", "objectives", "prompts", "segmenters", "transforms")
    light = tuple(f"benchmark.{name}" for name in shared)
    breaches = []
    for file in _method_files():
        own = ".".join(file.relative_to(ROOT).parent.parts)
        breaches += _breaches([file], of=TOP_LEVEL, allowed=(*light, own))
    assert breaches == []


def _loaded_by(code: str) -> list[str]:
    """Which of the heavy packages a fresh interpreter has loaded after this code."""
    tail = f"\nimport sys\nprint('LOADED', *[name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code + tail], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.rpartition("LOADED")[2].split()


def test_importing_all_of_reports_loads_nothing_heavy() -> None:
    modules = [module.name for module in pkgutil.walk_packages([str(ROOT / "reports")], "reports.")]
    assert modules
    assert _loaded_by(f"import {', '.join(modules)}") == []


def test_help_loads_nothing_heavy() -> None:
    run = "import sys, benchmark.cli\nsys.argv = ['backstop', '--help']\n"
    assert _loaded_by(f"{run}try: benchmark.cli.main()\nexcept SystemExit: pass") == []


@pytest.mark.parametrize("words", [["list"], ["plan", "smoke"], ["show", "smoke"]])
def test_looking_loads_neither_ray_nor_open_clip(words: list[str]) -> None:
    run = f"import sys, benchmark.cli\nsys.argv = ['backstop', *{words!r}]\n"
    assert _loaded_by(f"{run}try: benchmark.cli.main()\nexcept SystemExit: pass") == []
