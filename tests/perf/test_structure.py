"""The measure of the code's shape, on a checkout small enough to count by hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from benchmark.perf.structure import Graph, main, measure

pytestmark = pytest.mark.unit
FILES = {
    "benchmark/__init__.py": "VERSION = 1\n",
    "benchmark/errors.py": "",
    "benchmark/store/__init__.py": "",
    "benchmark/store/keys.py": "from ..errors import Wrong\n",
    "benchmark/store/files.py": "def late():\n    from benchmark.store import keys\n    import json\n    return keys\n",
    "benchmark/repairs/__init__.py": "",
    "benchmark/repairs/one.py": (
        "from typing import Any\nimport benchmark.store.files\nfrom benchmark.repairs.two import two\n\n\n"
        'def one(a: Any, b: dict[str, Any]) -> int:\n    """Two\n    lines."""\n    c: int = 1\n    return c\n'
    ),
    "benchmark/repairs/two.py": "import benchmark.repairs.one\n",
    "tuners/__init__.py": "from benchmark import VERSION\n" + "\n" * 300,
    "reports/__init__.py": "import tuners\n",
    "suites/__init__.py": "",
}


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def test_boxes_floors_arrows_and_circles(checkout: Path) -> None:
    found = measure(checkout)
    # one <-> two is a circle; two, one -> files -> keys -> errors are three floors; reports -> tuners stands apart
    assert found.graph_of_files == Graph(boxes=10, floors=3, arrows=6, circles=1)
    assert found.graph_of_folders == Graph(boxes=6, floors=2, arrows=3, circles=0)


def test_lengths_and_annotations(checkout: Path) -> None:
    found = measure(checkout)
    assert (found.files, found.files_over_300_lines) == (11, {"tuners/__init__.py": 301})
    assert (found.functions.number, found.functions.median, found.functions.longest) == (2, 3.5, 4)
    assert found.annotations_of_methods == 4  # a, b, c and the result
    assert found.any_share_of_methods == 0.5


def test_it_measures_the_checkout_that_is_named(checkout: Path) -> None:
    from typer import Typer

    app = Typer()
    app.command()(main)
    done = CliRunner().invoke(app, ["--root", str(checkout), "--json"])
    assert done.exit_code == 0
    assert json.loads(done.stdout)["graph_of_folders"]["circles"] == 0
    assert "6 boxes, 2 floors, 3 arrows, 0 circles\n" in CliRunner().invoke(app, ["--root", str(checkout)]).stdout
