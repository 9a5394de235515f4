"""The public functions, and the examples that show them, on a suite of one attacked model, its twin and one repair."""

from __future__ import annotations

import ast
import importlib.util
import json
import runpy
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import benchmark as bm
from benchmark.config import registry
from benchmark.detectors import STRIP
from benchmark.engine.suites import resolve
from benchmark.errors import UserError
from benchmark.repairs import CleanCLIP, FineTuning
from benchmark.stages.cells import Cell
from benchmark.stages.keys import cells_of, defend_key
from benchmark.stages.work.defend import load_repaired
from benchmark.store.artifacts import Store, open_store
from tests.helpers.miniature import SMALLEST

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A suite's file."""
    shrunk = resolve("smoke", [*SMALLEST, 'detectors=["clipscore"]', "readouts.probe=false"]).suite
    file = tmp_path_factory.mktemp("suite") / "smoke.json"
    file.write_text(json.dumps(shrunk.to_dict()))
    return str(file)


@pytest.fixture(scope="module")
def store(suite: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store in which the example with its own defense has run the suite."""
    folder = tmp_path_factory.mktemp("api") / "store"
    words = [sys.executable, str(EXAMPLES / "run_my_defense.py"), suite, str(folder)]
    done = subprocess.run(words, cwd=folder.parent, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("ok") == 2, done.stdout  # the attacked model and its twin
    return folder


@pytest.fixture(scope="module")
def cell(suite: str, store: Path) -> bm.OpenCell:
    return bm.open_cell(suite, attack="badnet", store=store, device="cpu")


def test_the_results_are_frames_with_every_cell(suite: str, store: Path) -> None:
    results = bm.load_results(store, suite)
    assert results.suite == "smoke"
    assert set(results.cells["repair"].str.partition("(")[0]) == {"none", "fine-tuning", "my-defense"}
    assert set(results.cells["status"]) == {"ok"}
    numbers = results.measures.merge(results.cells[["row", "selection"]], on="row")
    assert set(numbers["selection"]) == {"undefended", "default"}
    assert list(results.detections["detector"].unique()) == ["clipscore"]
    assert results.detections["auroc"].between(0, 1).all()
    assert results.trials.empty


def test_a_method_of_a_script_has_the_key_that_the_command_gives_it(suite: str, store: Path) -> None:
    words = ("--plugin", str(EXAMPLES / "run_my_defense.py"), "--add", "repair=my-defense:epochs=1", "--json")
    command = [sys.executable, "-m", "benchmark.cli", "plan", suite, "--no-probe", *words, "--store", str(store)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    stages = json.loads(done.stdout)["stages"]
    assert {stage["total"] - stage["found"] for stage in stages} == {0}, stages


def test_a_model_measures_what_its_record_says(cell: bm.OpenCell, suite: str, store: Path) -> None:
    results = bm.load_results(store, suite)
    row = results.cells.query("attack != 'none' and repair == 'none'")["row"].item()
    recorded = results.measures[results.measures["row"] == row].set_index(["name", "readout"])["value"]
    found = cell.evaluate().set_index(["name", "readout"])["value"]
    pd.testing.assert_series_equal(found.sort_index(), recorded.reindex(found.index).sort_index(), check_exact=False)
    assert {"net_asr", "floor", "clean_accuracy"} <= set(found.index.get_level_values("name"))


def test_a_repair_gives_the_weights_that_the_suite_kept(cell: bm.OpenCell, suite: str, store: Path) -> None:
    repair = FineTuning(epochs=1, batch_size=64)
    repaired = cell.repair(repair)
    there = [found for found in _cells(suite) if found.experiment.attack and found.experiment.repair == repair]
    kept = load_repaired(open_store(str(store)), defend_key(there[0], repair), 1)
    for name, tensor in kept.network.state_dict().items():
        torch.testing.assert_close(repaired.network.state_dict()[name], tensor, msg=name)
    before, after = (next(model.visual.parameters()) for model in (cell.model(), repaired))
    assert not torch.equal(before, after)


def test_a_try_leaves_the_store_as_it_was(cell: bm.OpenCell, store: Path) -> None:
    before = sorted(store.rglob("*"))
    cell.evaluate(cell.repair(CleanCLIP(epochs=1, batch_size=64)))
    assert sorted(store.rglob("*")) == before


def test_a_detector_gives_its_scores_with_what_is_true(cell: bm.OpenCell, suite: str, store: Path) -> None:
    from benchmark.detectors import DECREE, CLIPScore

    scores = cell.detect(CLIPScore()).scores.to_pandas()
    assert len(scores) == 600
    assert scores["positive"].sum() == 60  # a tenth of the pairs is poisoned
    finding = cell.detect(DECREE(epochs=1, num_images=64)).finding
    assert finding is not None
    assert np.isfinite(finding.score)


def test_the_trigger_is_that_of_the_attack(cell: bm.OpenCell) -> None:
    shown = cell.images("test")
    assert cell.trigger.apply is not None
    stamped = cell.trigger.apply(shown.images[:4], shown.ids[:4])
    changed = (stamped != shown.images[:4]).any(dim=1)
    assert changed.flatten(1).any(dim=1).all()
    assert changed.float().mean() < 0.5  # a patch


def test_the_clean_twin_has_no_trigger(suite: str, store: Path) -> None:
    twin = bm.open_cell(suite, attack="clean", store=store, device="cpu")
    assert "net_asr" not in set(twin.evaluate()["name"])
    with pytest.raises(UserError, match="must be attacked to have a trigger"):
        _ = twin.trigger


MISTAKES = {
    "several": ({}, r"open_cell must be told which one model, got '2 models'; attack=none or badnet\(.*\)"),
    "unknown": ({"attack": "badnte"}, "open_cell attack=badnte: unknown attack 'badnte'; did you mean badnet"),
    "seed": ({"attack": "badnet", "seed": 3}, "open_cell seed=3: unknown seed '3'"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_axes_that_name_no_single_model_are_one_line(name: str, suite: str, store: Path) -> None:
    given, line = MISTAKES[name]
    with pytest.raises(UserError, match=line) as caught:
        bm.open_cell(suite, store=store, **given)
    assert "\n" not in str(caught.value)


GIVEN = {
    "class": ({"add": [CleanCLIP]}, r"add must be a list of methods with their fields, got <class .*CleanCLIP'>; e.g."),
    "text": ({"add": ["cleanclip"]}, "add must be a list of methods with their fields, got 'cleanclip'; e.g."),
    "limit": ({"limit": -1}, "limit must be at least 1, got -1; leave it out for all cells"),
    "seed": ({"only": {"seed": 3}}, "--only seed=3: unknown seed '3'"),
}


@pytest.mark.parametrize("name", GIVEN)
def test_what_a_run_cannot_take_is_one_line(name: str, suite: str, store: Path) -> None:
    given, line = GIVEN[name]
    with pytest.raises(UserError, match=line):
        bm.run(suite, store=store, local=True, quiet=True, **given)


def test_only_a_repair_repairs(cell: bm.OpenCell) -> None:
    with pytest.raises(UserError, match=r"repair must be a repair with its fields, got .*; e.g. cell.repair\("):
        cell.repair(STRIP())  # type: ignore[arg-type]


def test_a_model_that_was_not_made_names_the_command(suite: str, store: Path) -> None:
    with pytest.raises(UserError, match=r"got no pretrain artifact of it; run `backstop run .* --only") as caught:
        bm.open_cell(suite, attack="badnet", set={"pretrain.epochs": 7}, store=store)
    assert "--set pretrain.epochs=7" in str(caught.value)


def test_results_of_a_suite_that_was_not_run_are_one_line(store: Path) -> None:
    with pytest.raises(UserError, match=r"store .*: unknown suite 'smok'; did you mean smoke"):
        bm.load_results(store, "smok")


def test_a_part_of_a_suite_is_run_and_the_rest_is_missing(suite: str, tmp_path: Path, store: Path) -> None:
    changed = {"readouts.knn": False}
    only = {"attack": "clean", "repair": "none", "detector": "none"}
    results = bm.run(suite, set=changed, only=only, store=_behind(tmp_path, store), local=True, quiet=True)
    assert results.cells["status"].value_counts().to_dict() == {"missing": 3, "ok": 1}


@pytest.mark.parametrize("stage", ["pretrain", "defend", "evaluate"])
def test_what_torch_computed_says_on_what(stage: str, store: Path) -> None:
    manifests = [json.loads(file.read_text())["facts"] for file in store.glob(f"{stage}/*/manifest.json")]
    assert manifests
    for facts in manifests:
        assert (facts["torch"], facts["device"], facts["micro_batch"]) == (torch.__version__, "cpu", None)
        assert facts["threads"] >= 1 and facts["cpu_capability"]


def test_a_metric_is_applied_to_cells_that_are_finished(suite: str, tmp_path: Path, store: Path) -> None:
    file = tmp_path / "my_metric.py"
    file.write_text(METRIC)
    spec = importlib.util.spec_from_file_location("my_metric", file)
    assert spec is not None and spec.loader is not None
    module = sys.modules["my_metric"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    only = {"repair": "none", "detector": "none"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registry, "_PLUGINS", {})
        found = bm.run(suite, add=[module.Rows(every=2)], only=only, store=_behind(tmp_path, store), quiet=True)
    rows = found.measures[found.measures["name"] == "rows"]
    assert rows["value"].tolist() == [100.0, 200.0]  # the twin is seen clean, the attacked model with the trigger too


METRIC = """
from benchmark import Card, Measure, Metric
class Rows(Metric):
    name, unit, bounds = "rows", "rows", (0, float("inf"))
    card = Card(title="Rows", citation="none", access="outputs", summary="Counts.")
    every: int = 1
    def measure(self, table, *, target):
        shown = table[table["readout"] == "zero_shot"]
        return [Measure("rows", "zero_shot", len(shown) / self.every, -1, len(shown))]
"""


def _behind(folder: Path, store: Path) -> Store:
    """A store of its own that finds models in the other one."""
    return open_store(str(folder / "store"), read_only=(str(store),))


@pytest.mark.slow
@pytest.mark.ray
def test_workers_of_ray_find_the_method_in_its_script(suite: str, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text((EXAMPLES / "run_my_defense.py").read_text().replace(", local=True", ""))
    words = [sys.executable, str(script), suite, str(tmp_path / "store")]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "starting Ray" in done.stderr
    assert done.stdout.count("ok") == 2, done.stdout


UNGUARDED = """
import sys
import benchmark as bm
from benchmark.repairs import FineTuning
class Mine(FineTuning):
    name = "mine"
bm.run(sys.argv[1], add=[Mine()], store=sys.argv[2], local=True)
"""


def test_a_script_that_does_not_guard_its_run_is_told_so(suite: str, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(UNGUARDED)
    words = [sys.executable, str(script), suite, str(tmp_path / "store")]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert 'run must be called under `if __name__ == "__main__":`' in done.stderr.splitlines()[-1]
    assert not (tmp_path / "store").exists()


def test_a_method_without_a_file_is_refused(suite: str, tmp_path: Path) -> None:
    space: dict[str, object] = {"__name__": "typed_in"}
    exec("from benchmark.repairs import FineTuning\nclass Typed(FineTuning):\n    name = 'typed'", space)
    typed = space["Typed"]
    assert isinstance(typed, type)
    with pytest.raises(UserError, match="Typed must be defined in a file"):
        bm.run(suite, add=[typed()], store=tmp_path, local=True)


@pytest.mark.parametrize("name", ["read_results.py", "try_a_repair.py"])
def test_an_example_prints_numbers(
    name: str, suite: str, store: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", [name, suite, str(store)])
    runpy.run_path(str(EXAMPLES / name), run_name="__main__")
    printed = capsys.readouterr().out
    assert "net_asr" in printed
    assert "0." in printed


def test_every_example_is_tried() -> None:
    there = {file.name for file in EXAMPLES.glob("*.py")}
    assert there == {"read_results.py", "run_my_defense.py", "try_a_repair.py"}
    assert {name for name in there if name not in (ROOT / "docs" / "api.md").read_text()} == set()


@pytest.mark.parametrize("kind", registry.KINDS)
def test_a_kind_exports_its_registered_methods_and_no_others(kind: str) -> None:
    points = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]
    targets = {tuple(target.split(":")) for target in points[f"backstop.{kind}"].values()}
    assert _exported(ROOT / "benchmark" / f"{kind}s" / "__init__.pyi", f"benchmark.{kind}s") == targets


def test_the_package_exports_every_base_class() -> None:
    from benchmark import types

    exported = _exported(ROOT / "benchmark" / "__init__.pyi", "benchmark")
    assert {("benchmark.types", name) for name in types.__all__} <= exported
    assert {name for _, name in exported} == set(bm.__all__)
    assert [name for name in bm.__all__ if not hasattr(bm, name)] == []


def _exported(stub: Path, package: str) -> set[tuple[str, str]]:
    """Module and name of what a stub imports; each under its own name, which makes it public to type checkers."""
    found = set()
    for node in ast.parse(stub.read_text()).body:
        if isinstance(node, ast.ImportFrom):
            assert all(alias.asname == alias.name for alias in node.names), stub
            found |= {(f"{package}.{node.module}", alias.name) for alias in node.names}
    return found


def _cells(suite: str) -> list[Cell]:
    return cells_of(resolve(suite).suite)
