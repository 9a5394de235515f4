"""Packaging: pins, packages, data files, versions and entry points agree with each other and with what is installed."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import benchmark

pytestmark = pytest.mark.unit
ROOT = Path(__file__).parents[1]
TOP_LEVEL = ("benchmark", "reports", "suites", "tuners")
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())


def _pins() -> list[str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def _declared_entry_points() -> set[tuple[str, str, str]]:
    groups = PROJECT["project"]["entry-points"] | {"console_scripts": PROJECT["project"]["scripts"]}
    return {(group, name, target) for group, points in groups.items() for name, target in points.items()}


def test_constraints_stand_equally_in_both_files() -> None:
    assert _pins() == PROJECT["tool"]["uv"]["constraint-dependencies"]


def test_constraints_are_exact_pins_without_any_index() -> None:
    text = (ROOT / "constraints.txt").read_text()
    assert "://" not in text
    assert [pin for pin in _pins() if not re.fullmatch(r"[a-z0-9-]+==[0-9][0-9a-z.+]*", pin)] == []


def test_every_requirement_is_pinned_within_its_bounds() -> None:
    pinned = {canonicalize_name(name): version for name, version in (pin.split("==") for pin in _pins())}
    extras = PROJECT["project"]["optional-dependencies"].values()
    wanted = [Requirement(text) for group in (PROJECT["project"]["dependencies"], *extras) for text in group]
    assert [str(req) for req in wanted if not req.specifier.contains(pinned[canonicalize_name(req.name)])] == []


def test_installed_entry_points_are_the_declared_ones() -> None:
    try:
        installed = metadata.distribution("backstop-bench").entry_points
    except metadata.PackageNotFoundError:
        pytest.fail("backstop-bench is not installed; run `make setup`")
    found = {(point.group, point.name, point.value) for point in installed}
    assert found == _declared_entry_points(), "entry points are stale; run `make setup`"


def test_entry_points_name_something_that_exists() -> None:
    missing = []
    for group, name, target in sorted(_declared_entry_points()):
        module, _, attribute = target.partition(":")
        file = ROOT / f"{module.replace('.', '/')}.py"
        body = ast.parse(file.read_text()).body if file.exists() else []
        if attribute not in {node.name for node in body if isinstance(node, ast.FunctionDef | ast.ClassDef)}:
            missing.append(f"{group} {name} = {target}")
    assert missing == []


def test_imported_packages_are_the_ones_of_this_repository(tmp_path: Path) -> None:
    # Isolated mode ignores the current folder and PYTHONPATH: only the installation counts.
    code = f"import {', '.join(TOP_LEVEL)}\nfor m in ({', '.join(TOP_LEVEL)},): print(m.__file__)"
    done = subprocess.run([sys.executable, "-I", "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{done.stderr}\nrun `make setup`"
    assert [Path(line) for line in done.stdout.split()] == [ROOT / name / "__init__.py" for name in TOP_LEVEL]


def test_declared_packages_are_the_folders_that_exist() -> None:
    folders = {file.parent for top in TOP_LEVEL for file in (ROOT / top).rglob("*.py")}
    found = {".".join(folder.relative_to(ROOT).parts) for folder in folders}
    assert found == set(PROJECT["tool"]["setuptools"]["packages"])
    assert [str(folder) for folder in folders if not (folder / "__init__.py").exists()] == []


def test_data_files_of_the_packages_are_shipped() -> None:
    data = PROJECT["tool"]["setuptools"]["package-data"]
    shipped = {
        file
        for package, patterns in data.items()
        for pattern in patterns
        # Setuptools lets a final `**` match files; pathlib does so only from 3.13 on.
        for file in (ROOT / package.replace(".", "/")).glob(re.sub(r"\*\*$", "**/*", pattern))
    }
    files = {file for top in TOP_LEVEL for file in (ROOT / top).rglob("*") if file.is_file()}
    others = {file for file in files if file.suffix not in {".py", ".pyc"}}
    assert others - shipped == set()


def test_versions_agree() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == benchmark.__version__
    assert citation["license"] == PROJECT["project"]["license"]
