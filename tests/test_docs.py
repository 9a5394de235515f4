"""Method files that the documentation shows keep their contract; links lead somewhere; the changelog names versions."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import benchmark
from benchmark.config import plugins, registry
from benchmark.stages.every import STAGES
from benchmark.stages.keys import STAGE_VERSIONS, cells_of
from benchmark.stages.outside import methods_of
from benchmark.testing.check import check_method
from benchmark.types import Training
from suites.smoke import suite as smoke

pytestmark = pytest.mark.unit
ROOT = Path(__file__).parents[1]
FILE = re.compile(r"^```python\n(\"\"\"(\w+\.py): .*?)^```$", re.MULTILINE | re.DOTALL)
SHOWN = {
    name: source
    for page in ("README.md", "CONTRIBUTING.md", "docs/methods.md")
    for source, name in FILE.findall((ROOT / page).read_text())
}
LONG = {"few_pixels.py", "loose_pairs.py", "stubborn.py", "tuned_in.py", "wise_ft.py"}  # models are poisoned for them
KINDS_SHOWN = {
    *("Attack", "ModelAttack", "Objective", "Repair", "Filter", "InputDetector", "ModelDetector", "Metric", "Dataset"),
}


def test_every_kind_is_shown() -> None:
    classes = {base for source in SHOWN.values() for base in re.findall(r"^class \w+\((\w+)\):", source, re.MULTILINE)}
    assert classes == KINDS_SHOWN


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name in LONG else ()) for name in sorted(SHOWN)]
)
def test_a_method_that_is_shown_passes_check(name: str, tmp_path: Path) -> None:
    file = tmp_path / name
    file.write_text(SHOWN[name])
    (method,) = plugins.load_plugin(plugins.read_plugin(file))
    assert {result.name: result.detail for result in check_method(method) if not result.ok} == {}


PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
LINK = re.compile(r"\]\((?!https?:)([^)#\s]+)[^)]*\)")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_of_a_page_lead_to_files(page: Path) -> None:
    assert [link for link in LINK.findall(page.read_text()) if not (page.parent / link).exists()] == []


def _raised() -> set[tuple[str, int]]:
    """What stands in content keys with a version above 1: stages, methods, chosen values."""
    methods = [registry.method(kind, name) for kind in registry.KINDS for name in registry.names(kind)]
    found = {*STAGE_VERSIONS.items(), *((method.name, method.version) for method in methods)}
    for versions in (Training.value_versions, *(method.value_versions for method in methods)):
        found |= set(versions.items())
    return {(name, version) for name, last in found for version in range(2, last + 1)}


def test_the_changelog_names_the_version_and_whatever_changed_results() -> None:
    told = (ROOT / "CHANGELOG.md").read_text()
    assert f"\n## [{benchmark.__version__}]" in told
    rows = re.findall(r"^\| `([^`]+)` \| (\d+) \|", told, re.MULTILINE)
    assert {(name, int(version)) for name, version in rows} == _raised()


def _defined(file: Path) -> set[str]:
    """Names at the top of a file, and `Class.method`."""
    found: set[str] = set()
    for node in ast.parse(file.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        if isinstance(node, ast.ClassDef):
            found |= {f"{node.name}.{item.name}" for item in node.body if isinstance(item, ast.FunctionDef)}
        for target in node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]:
            found |= {target.id} if isinstance(target, ast.Name) else set()
    return found


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", "docs/walk.md", "docs/cheats.md"])
def test_functions_that_a_page_sends_readers_to_are_there(page: str) -> None:
    named = re.findall(r"`([\w/]+\.py): ([\w.]+)`", (ROOT / page).read_text())
    assert named
    gone = [(file, name) for file, name in named if name not in _defined(ROOT / file)]
    assert gone == []


def test_each_of_the_ten_cheats_has_a_test_and_all_but_the_last_a_defence() -> None:
    rows = re.findall(r"^\| \*\*(\d+)\. (.*)$", (ROOT / "docs/cheats.md").read_text(), re.MULTILINE)
    assert [int(number) for number, _ in rows] == list(range(1, 11))
    for number, row in rows:
        _, wins, stops, seen, test, _ = [part.strip() for part in row.split(" |")]
        assert wins and seen and all(name.startswith("`tests/") for name in test.split(", ")), row
        assert ("Nothing here" in stops) == (number == "10")


def test_the_walk_names_the_nodes_that_its_cell_has() -> None:
    """Its table and its counts are what the stages say."""
    cells = cells_of(smoke())
    labels = [{getattr(part, "name", "") for part in methods_of(cell.experiment)} for cell in cells]
    ours = next(cell for cell, names in zip(cells, labels, strict=True) if names == {"badnet", "cleanclip"})
    told = (ROOT / "docs/walk.md").read_text()
    refs = [{node.ref for stage in STAGES for node in stage.nodes(cell, lambda _: 0)} for cell in (ours, *cells)]
    rows = re.findall(r"^\| `(\w+)` \|", told, re.MULTILINE)
    assert set(rows) == {ref.stage for ref in refs[0]}
    assert len(refs[0]) == 14 and "\nFourteen nodes here; all 24 cells have 103 before" in told
    assert (len(cells), len(set().union(*refs))) == (24, 103)
