"""The README's own method file keeps its contract."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmark.config import plugins
from benchmark.testing.check import check_method

pytestmark = pytest.mark.unit
README = Path(__file__).parents[1] / "README.md"


def test_the_method_in_the_readme_passes_check(tmp_path: Path) -> None:
    text = README.read_text()
    begin = text.index('"""my_repair.py')
    file = tmp_path / "my_repair.py"
    file.write_text(text[begin : text.index("```", begin)])
    (method,) = plugins.load_plugin(plugins.read_plugin(file))
    assert {result.name: result.detail for result in check_method(method) if not result.ok} == {}
