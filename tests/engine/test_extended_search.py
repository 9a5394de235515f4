"""A search that is given more trials, end to end: it runs those alone. And what each trial keeps for the front."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from benchmark.config.spec import Experiment, Search
from benchmark.datasets.shapes.dataset import Shapes
from benchmark.objectives.mmcl import MMCL
from benchmark.repairs.cleanclip import CleanCLIP
from benchmark.stages.trial import keeper
from benchmark.store.artifacts import Store
from tests.helpers.miniature import run
from tuners.front import Front, front_rows
from tuners.selection_rules import Row

CELL = (
    *("--local", "--only", "objective=mmcl,attack=badnet,repair=cleanclip", "--set", "repairs.cleanclip.epochs=4"),
    *("--set", "pretrain_by_objective.mmcl.epochs=1"),
)


def _runs(root: Path) -> dict[str, int]:
    """Every repair that was run, with the time of its end."""
    return {file.parent.name: file.stat().st_mtime_ns for file in root.glob("defend/*/manifest.json")}


def _trials(root: Path) -> list[dict[str, Any]]:
    """The table of trials of the largest search."""
    tables = [pq.read_table(file).to_pylist() for file in root.glob("record/*/*/trials.parquet")]
    return max(tables, key=lambda rows: max(row["trial"] for row in rows))


@pytest.mark.parametrize(("size", "kept"), [(0, {2, 4}), (1, {1, 2, 4}), (12, {1, 2, 4})])
def test_a_trial_keeps_its_own_front_beside_what_the_rules_may_select(size: int, kept: set[int]) -> None:
    measured = [(0.70, 0.60), (0.69, 0.12), (0.65, 0.14), (0.60, 0.10), (0.10, 0.00)]  # the last has collapsed
    epochs = [
        {"epoch": i, "validation_accuracy": ca, "validation_asr": asr, "validation_loss": 1.0}
        for i, (ca, asr) in enumerate(measured, start=1)
    ]
    cell = Experiment(data=Shapes(), objective=MMCL(), search=Search(front=size))
    keep = keeper(cell, CleanCLIP(), start_accuracy=0.71, floor=0.1)
    assert keep(epochs[:4]) == kept
    # the defaults' last epoch stays the one that the trial had before
    assert keep(epochs) >= kept - {4}


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_more_trials_go_on_with_those_that_are_there_and_the_whole_front_was_kept(tmp_path: Path) -> None:
    run(tmp_path, *CELL, "--set", "search.trials=3")
    before = _runs(tmp_path)
    run(tmp_path, *CELL, "--set", "search.trials=5")
    after = _runs(tmp_path)
    assert before.items() <= after.items()  # none was made again
    assert len(after) - len(before) == 2
    rows = _trials(tmp_path)
    assert {row["trial"] for row in rows} == set(range(6))
    measured = [
        Row(row["trial"], row["epoch"], row["phase"], row["validation_accuracy"], row["validation_asr"])
        for row in rows
        if row["epoch"] is not None
    ]
    front = front_rows(measured, Front(12, rows[0]["validation_floor"], lowest=0.0))
    artifact = {row["trial"]: row["artifact"] for row in rows}
    assert front
    store = Store(tmp_path)
    models = [store.facts("pretrain", key) or {} for key in store.keys("pretrain")]
    assert [(facts["training"]["epochs"], len(facts["history"])) for facts in models] == [(1, 1)] * 2
    for row in front:
        found = store.find("defend", artifact[row.trial])
        assert found is not None and found.path(f"epoch-{row.epoch:04d}.safetensors").exists()
