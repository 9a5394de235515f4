"""A stage of one outside file, the one that docs/stages.md shows, in runs with and without Ray."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pandas as pd
import pytest

from benchmark.config import registry
from benchmark.config.plugins import Plugin, load_plugin
from benchmark.engine.plan import plan
from benchmark.errors import UserError
from benchmark.repairs.fine_tuning import FineTuning
from benchmark.stages.every import STAGES, stages_of
from benchmark.stages.keys import cells_of
from benchmark.stages.record import write_record
from benchmark.stages.selection import Selected
from benchmark.store.artifacts import Store
from tests.helpers.finished import SUITE, made_up
from tests.helpers.miniature import run

PAGE = (Path(__file__).parents[2] / "docs" / "stages.md").read_text()
PART = ("--only", "objective=mmcl,attack=badnet,repair=fine-tuning", "--only", "repair=none")


@pytest.fixture
def source(monkeypatch: pytest.MonkeyPatch) -> str:
    """The file of the page."""
    monkeypatch.setattr(registry, "_PLUGINS", {})
    (found,) = re.findall(r"^```python\n(\"\"\"drift\.py: .*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    return found


def drifts(root: Path) -> dict[str, list[float]]:
    """Cell -> what the stage wrote."""
    found = {}
    for file in root.glob("drift/*/manifest.json"):
        manifest = json.loads(file.read_text())
        table = pd.read_parquet(file.parent / manifest["attempt"] / "drift.parquet")
        found[manifest["facts"]["cell"]] = table["drift"].tolist()
    return found


def dates(root: Path) -> dict[str, int]:
    return {str(file): file.stat().st_mtime_ns for file in root.glob("*/*/manifest.json")}


@pytest.mark.unit
def test_a_plugin_may_define_nothing_but_a_stage(source: str) -> None:
    plugin = Plugin("drift", source)
    assert load_plugin(plugin) == []
    assert [stage.name for stage in stages_of(SUITE, [plugin])] == [*(stage.name for stage in STAGES), "drift"]


@pytest.mark.unit
@pytest.mark.parametrize("name", ["record", "measure"])
def test_a_stage_has_a_name_of_its_own(name: str, source: str) -> None:
    plugin = Plugin("drift", source.replace('name = "drift"', f'name = "{name}"'))
    load_plugin(plugin)
    with pytest.raises(UserError, match=f"stage Drift: name must be its own, got '{name}'"):
        stages_of(SUITE, [plugin])


@pytest.mark.unit
def test_a_plan_lists_an_outside_stage_also_for_cells_that_are_finished(source: str, tmp_path: Path) -> None:
    plugin, suite, store = Plugin("drift", source), made_up(repairs=(FineTuning(),)), Store(tmp_path)
    load_plugin(plugin)
    stages, cells = stages_of(suite, [plugin]), cells_of(suite)

    def to_make() -> dict[str, int]:
        return {stage.title: stage.total - stage.found for stage in plan(store, cells, stages=stages).stages}

    repaired = sum(cell.experiment.repair is not None for cell in cells)
    assert (to_make()["records"], to_make()["drift of the weights"]) == (len(cells), repaired)
    for cell in cells:
        write_record(store, cell, suite.name, [Selected("default", "repair_failed")], environment={})
    assert {title: count for title, count in to_make().items() if count} == {"drift of the weights": repaired}


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_an_outside_stage_takes_part_and_reaches_cells_that_are_finished(source: str, tmp_path: Path) -> None:
    """In the run itself, and over a store that was finished without it; the numbers are equal, nothing else is made."""
    file, late = tmp_path / "drift.py", tmp_path / "late"
    file.write_text(source)
    printed = run(tmp_path / "store", "--local", "--plugin", str(file), *PART)
    assert "drift of the weights: 1 ok" in printed
    (moved,) = drifts(tmp_path / "store").values()
    assert len(moved) == 1 and 0 < moved[0] < 1
    run(late, "--local", *PART)
    before = dates(late)
    run(late, "--local", "--plugin", str(file), *PART)
    assert drifts(late) == drifts(tmp_path / "store")
    assert {name: date for name, date in dates(late).items() if "/drift/" not in name} == before
    after = dates(late)
    run(late, "--local", "--plugin", str(file), *PART)
    assert dates(late) == after


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.timeout(600)
def test_an_outside_stage_runs_on_workers(source: str, tmp_path: Path) -> None:
    file = tmp_path / "drift.py"
    file.write_text(source)
    assert "drift of the weights: 1 ok" in run(tmp_path / "store", "--plugin", str(file), *PART)
    (moved,) = drifts(tmp_path / "store").values()
    assert len(moved) == 1 and 0 < moved[0] < 1
