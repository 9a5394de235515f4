"""The published suites from end to end in miniature: shrunk by --set, on files in the layouts of their sets."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from benchmark.config import registry
from benchmark.config.overrides import override
from benchmark.engine.driver import SuiteRun
from benchmark.engine.local import LocalExecutor
from benchmark.engine.monitor import Monitor
from benchmark.stages.cells import Cell
from benchmark.stages.common import Compute
from benchmark.stages.keys import cells_of
from benchmark.store.artifacts import Store
from suites.verma2025_ablations import SSL_WEIGHT_RATES, SSL_WEIGHTS
from tests.helpers.photos import write_imagenet, write_pairs

pytestmark = pytest.mark.slow
PAIRS, CLEAN = 480, 96
REPAIRS = ("fine-tuning", "ssl-only", "cleanclip", "batch-norm-only")
SETTINGS = {
    "model.name": "tiny-resnet",
    "splits.pretrain": f"{PAIRS}",
    "splits.clean": f"{CLEAN}",
    "splits.validation": "64",
    "splits.test": "100",
    "data.expected_rows": "{}",
    "data.held_out_window": "null",
    "evaluation.expected_rows": "{}",
    "pretrain.epochs": "3",
    "pretrain.batch_size": "64",
    "pretrain.norm_group": "32",
    "pretrain.warmup_steps": "4",
    "gate.min_asr": "0",
    "gate.max_accuracy_drop": "1",
    "seeds": "[0]",
}
STUDY = {
    "pretrain_by_objective.mmcl-ssl.batch_size": "32",
    "pretrain_by_objective.mmcl-ssl.norm_group": "16",
    "attacks.badnet.poison_rate": "0.05",
    "search.trials": "2",
    "search.quasi_random": "1",
    "search.round_size": "1",
    **{f"repairs.{name}.epochs": "2" if name == "cleanclip" else "1" for name in REPAIRS},
    **{f"repairs.{name}.batch_size": "32" for name in REPAIRS},
}
CC6M = {f"repairs.{name}.num_clean_pairs": "48" for name in REPAIRS}
CC6M |= {"pretrain.stop_after": "1", "pretrain_by_objective.mmcl-ssl.stop_after": "2"}

CLEANED = {"epochs": "2", "batch_size": "32", "num_clean_pairs": "48"}


def run(name: str, folder: Path, settings: dict[str, str]) -> tuple[Store, list[Cell], list[dict]]:
    """Runs a suite in miniature; its cells and all rows of their records."""
    files = registry.suite(name)().data.name
    if not (folder / files).exists():
        write_pairs(folder / files, name=files, count=PAIRS + CLEAN + 164 + 20)
        write_imagenet(folder / "imagenet", train=CLEAN + 200, validation=120)
    paths = {"data.path": str(folder / files), "evaluation.path": str(folder / "imagenet")}
    small = override(registry.suite(name)(), paths | SETTINGS | settings)
    store, cells = Store(folder / "store"), cells_of(small)
    monitor = Monitor(quiet=True)
    SuiteRun(store, small, cells, cells, LocalExecutor(store, monitor, Compute(), threads=1), monitor).run()
    rows = []
    for cell in cells:
        artifact = store.find("record", cell.keys.record)
        assert artifact is not None
        rows += pq.read_table(artifact.path("records.parquet")).to_pylist()
    return store, cells, rows


@pytest.mark.parametrize("name", ["verma2025-cc3m", "verma2025-cc6m"])
def test_the_study_runs_in_miniature(name: str, tmp_path: Path) -> None:
    settings = STUDY | (CC6M if "cc6m" in name else {})
    check_study(name, {"quasi_random", "tpe"}, *run(name, tmp_path, settings))
    models = len(Store(tmp_path / "store").keys("pretrain"))
    check_study(name, {"grid"}, *run(f"{name}-grid", tmp_path, settings))
    assert len(Store(tmp_path / "store").keys("pretrain")) == models  # both suites share them


def check_study(name: str, phases: set[str], store: Store, cells: list[Cell], rows: list[dict]) -> None:
    assert {row["status"] for row in rows} <= {"ok", "repair_failed"}  # by a rule, never by a crash
    assert {row["selection"] for row in rows} == {"undefended", "default", "oracle", "trigger_blind"}
    epochs = {"mmcl": 3, "mmcl-ssl": 3} if "cc3m" in name else {"mmcl": 1, "mmcl-ssl": 2}
    for cell in cells:
        facts = store.facts("pretrain", cell.keys.pretrain)
        assert facts is not None
        assert len(facts["history"]) == epochs[cell.experiment.objective.name]
        assert ("validation_loss" in facts["history"][0]) == ("cc3m" in name)
    searched = next(cell for cell in cells if cell.experiment.search)
    record = store.find("record", searched.keys.record)
    assert record is not None
    trials = pq.read_table(record.path("trials.parquet")).to_pylist()
    assert {row["trial"] for row in trials} == {0, 1, 2}
    assert {row["phase"] for row in trials} == {"default", *phases}
    (pairs,) = {row["clean_pairs"] for row in rows if row["selection"] == "oracle" and row["status"] == "ok"} or {CLEAN}
    assert pairs == (48 if "cc6m" in name else CLEAN)


def test_the_weight_of_the_in_modal_term_runs_in_miniature(tmp_path: Path) -> None:
    settings = {name: value for name, value in (STUDY | CC6M).items() if not name.startswith("repairs.")}
    settings |= {f"repairs.cleanclip.{field}": value for field, value in CLEANED.items()} | {"search.trials": "3"}
    store, cells, rows = run("verma2025-ssl-weight", tmp_path, settings)
    assert {row["status"] for row in rows} <= {"ok", "repair_failed"}
    searched = [cell for cell in cells if cell.experiment.search]
    assert {cell.experiment.objective.name for cell in searched} == {"mmcl", "mmcl-ssl"}
    for cell in searched:
        record = store.find("record", cell.keys.record)
        assert record is not None
        trials = pq.read_table(record.path("trials.parquet")).to_pylist()
        tried = [json.loads(row["parameters"]) for row in trials if row["phase"] == "grid"]
        # the field last by name changes fastest: one rate, and one weight after the other
        assert {one["learning_rate"] for one in tried} == {SSL_WEIGHT_RATES[0]}
        assert {one["ssl_weight"] for one in tried} == set(SSL_WEIGHTS[:3])


TINY_PRETRAIN = '{"epochs": 2, "batch_size": 32, "norm_group": 16, "warmup_steps": 4, "learning_rate": 1e-3}'
HELD = "epochs=1,batch_size=32,num_clean_pairs=48"


def test_the_ablations_run_in_miniature(tmp_path: Path) -> None:
    settings = {
        "repairs": f'["cleanclip:{HELD},num_poisons_left=5", "cleanclip:epochs=1,batch_size=32", '
        f'"shrink-and-perturb:{HELD}", "heavy-weight-decay:{HELD}"]',
        "attacks.badnet.poison_rate": "0.05",
        "search.trials": "1",
        "defended_objectives": '["mmcl"]',
        "pretrain": TINY_PRETRAIN,
        "pretrain_by_objective": '{"mmcl": {"stop_after": 1}}',
    }
    for place, model in enumerate(("tiny-resnet", "tiny-resnet", "tiny-vit", "tiny-resnet")):
        grid = f"also.{place}"
        settings |= {f"{grid}.model": f'{{"name": "{model}"}}', f"{grid}.pretrain": TINY_PRETRAIN}
        settings |= {f"{grid}.pretrain_by_objective": "{}", f"{grid}.repairs": f'["cleanclip:{HELD}"]'}
        settings[f"{grid}.objectives"] = '["mmcl"]'
    for place in (0, 2, 3):
        settings[f"also.{place}.attacks.badnet.poison_rate"] = "0.05"
    settings |= {"also.0.attacks.label-consistent.poison_rate": "0.05", "also.1.attacks.wanet.poison_rate": "0.05"}
    settings["also.3.pretrain"] = TINY_PRETRAIN.replace("1e-3", "1e-4")
    _, cells, rows = run("verma2025-ablations", tmp_path, settings)
    assert {row["status"] for row in rows} <= {"ok", "repair_failed"}
    shown = {(row["model"], row["attack"].partition("(")[0]) for row in rows if row["repair"] != "none"}
    attacks = ("none", "badnet", "wanet", "label-consistent")
    assert shown == {*(("tiny-resnet", attack) for attack in attacks), ("tiny-vit", "none"), ("tiny-vit", "badnet")}
    held = {row["repair"].partition("(")[0]: row["clean_pairs"] for row in rows if row["selection"] == "default"}
    assert held["shrink-and-perturb"] == held["heavy-weight-decay"] == 48
    left = [row for row in rows if "num_poisons_left" in row["repair"] and row["selection"] == "default"]
    assert {row["attack"].partition("(")[0] for row in left} == {"none", "badnet"}
    assert len(cells) == len({cell.keys.record for cell in cells})


def test_cleanclip_2023_runs_in_miniature(tmp_path: Path) -> None:
    attacks = ("badnet", "blended", "wanet", "label-consistent")
    settings = {f"attacks.{name}.poison_rate": "0.05" for name in attacks} | {
        "also.0.attacks.blended.poison_rate": "0.05",
        "also.0.model.name": "tiny-resnet",
        "also.0.pretrain": TINY_PRETRAIN,
        "pretrain": TINY_PRETRAIN,
        "also.0.repairs": '["cleanclip:epochs=1,batch_size=32,ssl_weight=4"]',
    }
    settings |= {f"repairs.{name}.epochs": "1" for name in ("fine-tuning", "cleanclip", "batch-norm-only")}
    settings |= {f"repairs.{name}.batch_size": "32" for name in ("fine-tuning", "cleanclip", "batch-norm-only")}
    _, _, rows = run("cleanclip2023", tmp_path, settings)
    assert {row["status"] for row in rows} == {"ok"}
    assert {row["attack"].partition("(")[0] for row in rows} == {"none", *attacks}
    assert len([row for row in rows if "ssl_weight" in row["repair"]]) == 2  # under Blended, and of its twin


def test_safeclip_2024_runs_in_miniature(tmp_path: Path) -> None:
    settings = {
        "objectives.safeclip.unimodal_epochs": "1",
        "objectives.safeclip.bank_size": "64",
        "objectives.roclip.bank_size": "64",
        "attacks.blended.poison_rate": "0.05",
        "pretrain.epochs": "4",
    }
    _, _, rows = run("safeclip2024", tmp_path, settings)
    assert {row["status"] for row in rows} == {"ok"}
    assert {row["objective"].partition("(")[0] for row in rows} == {"mmcl", "roclip", "safeclip"}


def test_a_search_that_keeps_few_weights_can_be_given_more_trials_and_fewer_again(tmp_path: Path) -> None:
    def runs(store: Store) -> dict[str, int]:
        return {
            key: (Path(store.root) / "defend" / key / "manifest.json").stat().st_mtime_ns
            for key in store.keys("defend")
        }

    few = {name: value for name, value in STUDY.items() if name.startswith(("attacks.", "search."))}
    few |= {"pretrain_by_objective": "{}", "objectives": '["mmcl"]', "search.front": "2", "search.front_strips": "2"}
    few["repairs"] = '["cleanclip:epochs=3,batch_size=32"]'
    store, _, rows = run("verma2025-cc3m", tmp_path, few)
    assert {row["status"] for row in rows} <= {"ok", "repair_failed"}
    before = runs(store)
    _, _, more = run("verma2025-cc3m", tmp_path, few | {"search.trials": "4"})
    assert {row["status"] for row in more} <= {"ok", "repair_failed"}
    after = runs(store)
    assert before.items() <= after.items()  # none was made again
    assert len(after) == len(before) + 2
    weights = list(Path(store.root).glob("defend/*/*/epoch-*.safetensors"))
    assert 0 < len(weights) < 3 * len(after)
    _, _, again = run("verma2025-cc3m", tmp_path, few)
    assert again == rows
