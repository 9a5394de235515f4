"""The zoo from end to end: `kinds` names every method there is, and each of them runs."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from benchmark.config import registry
from benchmark.config.spec import Suite
from benchmark.engine import plan
from benchmark.engine.driver import SuiteRun
from benchmark.engine.local import LocalExecutor
from benchmark.engine.monitor import Monitor
from benchmark.stages.cells import Cell
from benchmark.stages.common import Compute
from benchmark.stages.keys import cells_of
from benchmark.store.artifacts import Store, open_store

NOT_APPLICABLE = {
    ("rvpt", "none"): "vision transformer",
    ("rvpt", "badnet"): "vision transformer",
    ("tbar", "none"): "true trigger",
}


def suite(name: str) -> Suite:
    return registry.suite(name)()


@pytest.mark.unit
@pytest.mark.parametrize("kind", ["objective", "attack", "repair", "detector"])
def test_kinds_names_every_method(kind: str) -> None:
    named = {item.name for item in suite("kinds").methods(kind)}
    own = {name for name in registry.names(kind) if registry.method(kind, name).__module__.startswith("benchmark.")}
    assert own - named == ({"ssl"} if kind == "objective" else set())  # a part of mmcl-ssl


@pytest.mark.unit
@pytest.mark.parametrize("name", ["kinds", "smoke"])
def test_the_plan_counts_each_model_once(name: str, tmp_path: Path) -> None:
    found = suite(name)
    cells = cells_of(found)
    stages = {stage.stage: stage for stage in plan.plan(open_store(str(tmp_path)), cells).stages}
    outside = {cell.keys.outside for cell in cells if cell.keys.outside}
    again = {cell.keys.retrained for cell in cells if cell.keys.retrained}
    attacked = sum(len(grid.objectives) * (1 + len(grid.attacks)) for grid in found.grids)
    assert stages["pretrain"].total == attacked + len(outside) + len(again)
    assert stages["detect"].total == len({cell.keys.detect for cell in cells if cell.keys.detect})
    assert stages["record"].total == len(cells) == len({cell.keys.record for cell in cells})


@pytest.mark.unit
def test_filters_have_nothing_to_score_on_clean_pairs() -> None:
    clean = [item.detector for item in suite("kinds").experiments() if item.attack is None and item.detector]
    filters = [item for item in clean if item.unit == "pair"]
    assert filters and all(getattr(item, "retrain", False) for item in filters)
    assert {item.unit for item in clean} == {"pair", "input", "model"}


def run(name: str, folder: Path) -> tuple[Store, list[Cell]]:
    found, store = suite(name), open_store(str(folder))
    cells = cells_of(found)
    monitor = Monitor(quiet=True)
    SuiteRun(store, found, cells, cells, LocalExecutor(store, monitor, Compute(), threads=1), monitor).run()
    return store, cells


def rows(store: Store, cells: list[Cell]) -> list[dict]:
    found = []
    for cell in cells:
        artifact = store.find("record", cell.keys.record)
        assert artifact is not None
        found += pq.read_table(artifact.path("records.parquet")).to_pylist()
    return found


@pytest.mark.slow
def test_every_method_runs(tmp_path: Path) -> None:
    store, cells = run("kinds", tmp_path)
    table = rows(store, cells)
    for row in table:
        method = next((row[kind] for kind in ("repair", "detector") if row[kind] != "none"), "none").partition("(")[0]
        known = NOT_APPLICABLE.get((method, row["attack"].partition("(")[0]))
        why = known if row["model"] == "tiny-resnet" else None
        assert row["status"] == ("not_applicable" if why else "ok"), row
        assert (why or "") in row["reason"]
        if row["status"] == "ok":
            assert row["measures"]
    measured = Counter(measure["name"] for row in table if row["detector"] != "none" for measure in row["measures"])
    assert {"auroc", "suspicion", "flagged", "poisons_left_at_1pct", "attack_success_rate"} <= set(measured)
    quantised = [row for row in table if row["attack"].startswith("quantisation")]
    names = {measure["name"] for row in quantised for measure in row["measures"]}
    assert {"clean_accuracy@int8", "attack_success_rate@int8", "floor@int8"} <= names
    victims = [row for row in table if row["attack"].startswith("tdpa")]
    assert all(any(item["name"] == "tdpa_success_at_1" for item in row["measures"]) for row in victims)
    again, same = run("kinds", tmp_path)
    assert rows(again, same) == table  # nothing is made twice
