"""Every method file that the documentation shows keeps its contract."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from benchmark.config import plugins
from benchmark.testing.check import check_method

pytestmark = pytest.mark.unit
ROOT = Path(__file__).parents[1]
FILE = re.compile(r"^```python\n(\"\"\"(\w+\.py): .*?)^```$", re.MULTILINE | re.DOTALL)
SHOWN = {
    name: source
    for page in ("README.md", "docs/methods.md")
    for source, name in FILE.findall((ROOT / page).read_text())
}
LONG = {"few_pixels.py", "loose_pairs.py", "stubborn.py", "tuned_in.py"}  # models are poisoned for them
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
