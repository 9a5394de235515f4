"""A rebound of a real miniature that was finished without one: its numbers, and that they come again to the bit."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

import benchmark as bm
from benchmark.engine.suites import resolve
from benchmark.store.artifacts import Store
from tests.helpers.miniature import SMALLEST, run

pytestmark = [pytest.mark.unit, pytest.mark.timeout(600)]
REBOUND = {
    "rebound.steps": [0, 2, 8],
    "rebound.learning_rates": [1e-3],
    "rebound.batch_size": 32,
    "rebound.rows": 100,
}


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> str:
    shrunk = resolve("smoke", [*SMALLEST, "threads=1", "readouts.probe=false", "readouts.knn=false"]).suite
    file = tmp_path_factory.mktemp("suite") / "smoke.json"
    file.write_text(json.dumps(shrunk.to_dict()))
    return str(file)


@pytest.fixture(scope="module")
def bare(suite: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The store of a run without a rebound."""
    root = tmp_path_factory.mktemp("rebound") / "bare"
    bm.run(suite, store=root, local=True, quiet=True)
    return root


@pytest.fixture(scope="module")
def store(suite: str, bare: Path) -> Path:
    """A copy of it, with the rebound."""
    return _with_rebound(suite, bare, "store")


def _with_rebound(suite: str, bare: Path, name: str) -> Path:
    root = bare.parent / name
    shutil.copytree(bare, root)
    bm.run(suite, set=REBOUND, store=root, local=True, quiet=True)
    return root


def _manifests(root: Path) -> dict[str, bytes]:
    return {str(file.relative_to(root)): file.read_bytes() for file in root.glob("*/*/manifest.json")}


def test_it_adds_its_trajectories_and_touches_nothing_else(bare: Path, store: Path) -> None:
    before, after = _manifests(bare), _manifests(store)
    assert {name: after.get(name) for name in before} == before
    added = after.keys() - before.keys()
    assert len(added) == 6 and all(name.startswith("rebound/") for name in added)  # three models in two scopes


def test_its_curves_begin_where_the_records_stand(suite: str, store: Path) -> None:
    results = bm.load_results(store, suite)
    rows, cells = results.rebounds, results.cells.set_index("cell")
    assert sorted(set(rows["role"])) == ["clean_twin", "repaired", "undefended"]
    assert len(rows) == 6 * 3 and set(rows["step"]) == {0, 2, 8}
    for row in rows[(rows["step"] == 0) & (rows["role"] != "clean_twin")].to_dict("records"):
        own = cells.loc[row["cell"]]
        for name in ("clean_accuracy", "attack_success_rate", "poisoned_accuracy", "floor", "net_asr"):
            assert row[name] == own[name]
        assert row["attack_success_rate_count"] == own["attack_success_rate_count"]


def test_its_numbers_can_be_derived_from_its_outcomes(suite: str, store: Path) -> None:
    opened = Store(store)
    keys = opened.keys("rebound")
    rows = bm.load_results(store, suite).rebounds.set_index(["trajectory", "step"])
    for key in keys:
        artifact = opened.find("rebound", key)
        assert artifact
        facts, table = artifact.facts, pd.read_parquet(artifact.path("outcomes.parquet"))
        assert facts["pairs"] == 100 and facts["pairs_left_out"] == 100 and facts["words"] == ["ring"]
        for step, own in table.groupby("step"):
            clean = own[own["condition"] == "clean"]
            shown = own[(own["condition"] != "clean") & (own["true_class"] != facts["target"])]
            assert rows.loc[(key, step), "clean_accuracy"] == (clean["predicted"] == clean["true_class"]).mean()
            assert rows.loc[(key, step), "attack_success_rate"] == (shown["predicted"] == facts["target"]).mean()
        first, last = (table[table["step"] == step]["score"].to_numpy() for step in (0, 8))
        assert (first != last).any()  # something was trained


def test_a_second_run_makes_nothing(suite: str, store: Path) -> None:
    before = _manifests(store)
    bm.run(suite, set=REBOUND, store=store, local=True, quiet=True)
    assert _manifests(store) == before


def test_it_comes_again_to_the_bit(suite: str, bare: Path, store: Path) -> None:
    again = Store(_with_rebound(suite, bare, "again"))
    first = Store(store)
    assert first.keys("rebound") == again.keys("rebound") != []
    for key in first.keys("rebound"):
        for file in ("rebound.parquet", "outcomes.parquet"):
            one, other = (place.find("rebound", key) for place in (first, again))
            assert one and other
            assert pq.read_table(one.path(file)).equals(pq.read_table(other.path(file)))


@pytest.mark.slow
@pytest.mark.ray
def test_workers_of_ray_give_the_same_trajectories(tmp_path: Path) -> None:
    """In the run that makes the records too; a searched repair is asked for under two rules."""
    part = ["--only", "objective=mmcl,attack=badnet,repair=cleanclip", "--only", "repair=none"]
    fields = {"threads": 1} | REBOUND | {"rebound.scopes": ["full"]}
    words = [word for name, value in fields.items() for word in ("--set", f"{name}={json.dumps(value)}")]
    for place, more in (("here", ["--local"]), ("ray", [])):
        printed = run(tmp_path / place, *part, *words, *more)
        assert "rebound: " in printed and "failed" not in printed
    here, there = Store(tmp_path / "here"), Store(tmp_path / "ray")
    assert here.keys("rebound") == there.keys("rebound")
    assert len(here.keys("rebound")) >= 3
    for key in here.keys("rebound"):
        one, other = (place.find("rebound", key) for place in (here, there))
        assert one and other
        assert pq.read_table(one.path("outcomes.parquet")).equals(pq.read_table(other.path("outcomes.parquet")))
