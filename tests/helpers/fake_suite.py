"""A made-up suite in a real store: every status, hostile strings, searches with trials. For tests of `reports`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmark.stats import front
from benchmark.store.artifacts import Store
from benchmark.store.keys import content_key
from benchmark.store.schemas import FRONT, RECORDS, SCHEMA_VERSION, TRIALS
from benchmark.types import Measure, proportion
from reports.compile import Results
from reports.grid import Names, names_of
from tests.helpers.cards import methods

Rows = list[dict[str, Any]]
HOSTILE = "<script>alert('label')</script>"
OBJECTIVES = ("mmcl", "mmcl-ssl")
BADNET, BLENDED = "badnet(poison_rate=0.03,target=circle)", "blended(target=circle)"
REPAIRS = ("none", "fine-tuning", "batch-norm-only", "cleanclip")
TEST, TEST_ATTACKED, FLOOR, VALIDATION_FLOOR = 2000, 1800, 0.021, 0.03
REPAIRED_FLOOR = 90  # of TEST_ATTACKED
PROTOCOL: dict[str, Any] = {
    "gate": {"min_asr": 0.8, "max_accuracy_drop": 0.05},
    "search": {
        "trials": 8,
        "quasi_random": 4,
        "round_size": 2,
        "asr_bound": 0.05,
        "bound_on": "net",
        "blind_drop": 0.02,
        "front": 12,
    },
    "splits": {"pretrain": 8000, "clean": 1000, "validation": 1000, "test": TEST},
    "pretrain": {"epochs": 12, "batch_size": 128, "learning_rate": 0.002},
}
# (CA, ASR) on test for (objective, repair, rule)
LEVELS = {
    ("mmcl", "none", "undefended"): (0.712, 0.968),
    ("mmcl", "fine-tuning", "default"): (0.708, 0.846),
    ("mmcl", "batch-norm-only", "default"): (0.716, 0.951),
    ("mmcl", "cleanclip", "default"): (0.705, 0.118),
    ("mmcl", "cleanclip", "oracle"): (0.698, 0.049),
    ("mmcl", "cleanclip", "trigger_blind"): (0.694, 0.082),
    ("mmcl-ssl", "none", "undefended"): (0.786, 0.934),
    ("mmcl-ssl", "fine-tuning", "default"): (0.774, 0.902),
    ("mmcl-ssl", "batch-norm-only", "default"): (0.789, 0.925),
    ("mmcl-ssl", "cleanclip", "default"): (0.771, 0.684),
    ("mmcl-ssl", "cleanclip", "oracle"): (0.583, 0.058),
    ("mmcl-ssl", "cleanclip", "trigger_blind"): (0.768, 0.531),
}


def rules(repair: str, searched: bool) -> tuple[str, ...]:
    """Selection rules of a cell."""
    return ("undefended",) if repair == "none" else ("default", "oracle", "trigger_blind") if searched else ("default",)


def measures(accuracy: float, asr: float | None, *, objective: str) -> list[Measure]:
    """Measures of one model; without an attack only those on clean images."""
    made = [proportion("clean_accuracy", "zero_shot", round(accuracy * TEST), TEST)]
    made.append(proportion("clean_accuracy", "probe", round((accuracy + 0.06) * TEST), TEST))
    made.append(proportion("clean_accuracy", "knn", round((accuracy + 0.02) * TEST), TEST))
    made += [proportion(f"class_accuracy/{k}", "zero_shot", round(200 * accuracy), 200) for k in range(10)]
    for readout in ("retrieval_image_to_text", "retrieval_text_to_image"):
        made += [proportion(f"recall_at_{k}", readout, round(500 * (0.12 + 0.03 * k)), 500) for k in (1, 5, 10)]
    if asr is None:
        return made
    floor = FLOOR if objective == "mmcl" else FLOOR + 0.006
    made.append(proportion("attack_success_rate", "zero_shot", round(asr * TEST_ATTACKED), TEST_ATTACKED))
    made.append(proportion("attack_success_rate_inclusive", "zero_shot", round((0.1 + 0.9 * asr) * TEST), TEST))
    made.append(proportion("attack_success_rate", "probe", round(asr * 0.8 * TEST_ATTACKED), TEST_ATTACKED))
    made.append(proportion("attack_success_rate", "knn", round(asr * 0.6 * TEST_ATTACKED), TEST_ATTACKED))
    poisoned = accuracy * (1 - asr)
    made.append(proportion("poisoned_accuracy", "zero_shot", round(poisoned * TEST_ATTACKED), TEST_ATTACKED))
    made.append(proportion("floor", "zero_shot", round(floor * TEST_ATTACKED), TEST_ATTACKED))
    net = round(asr * TEST_ATTACKED) / TEST_ATTACKED - round(floor * TEST_ATTACKED) / TEST_ATTACKED
    made.append(proportion("repaired_floor", "zero_shot", REPAIRED_FLOOR, TEST_ATTACKED))
    return [*made, Measure("net_asr", "zero_shot", net, -1, TEST_ATTACKED)]


def record(
    entry: dict[str, Any], rule: str, *, status: str = "ok", reason: str = "", made: list[Measure] | None = None
) -> dict[str, Any]:
    """One row of `schemas.RECORDS`."""
    repaired = entry["repair"] != "none"
    axes = ("cell", "dataset", "model", "objective", "attack", "repair", "seed", "searched")
    return {
        "schema_version": SCHEMA_VERSION,
        "suite": "demo",
        **{name: entry[name] for name in axes},
        "detector": entry.get("detector", "none"),
        "selection": rule,
        "status": status,
        "reason": reason,
        "trial": 3 if rule in ("oracle", "trigger_blind") else 0,
        "epoch": 4 if repaired else None,
        "parameters": json.dumps({"learning_rate": 3e-5, "epochs": 4}) if repaired else "{}",
        "trials_behind_rule": {"oracle": 9, "trigger_blind": 5}.get(rule, 1),
        "measures": [measure._asdict() for measure in made or []],
        "clean_pairs": 1000 if repaired else 0,
        "wall_s": 84.2 if entry["searched"] else 7.4 if repaired else 0.0,
        "device": "cpu",
        "environment": json.dumps({"torch": "2.15.0"}),
        "specification": "{}",
        "artifacts": "{}",
    }


def trials(entry: dict[str, Any]) -> list[dict[str, Any]]:
    """Nine trials of four epochs: more strength, less ASR, and at last less accuracy."""
    rng = np.random.default_rng([entry["seed"], len(entry["attack"]), len(entry["objective"])])
    start, asr = LEVELS[entry["objective"], "none", "undefended"]
    stubborn = 1.0 if entry["objective"] == "mmcl" else 2.4
    rows = []
    for trial in range(9):
        strength = 10 ** rng.uniform(-5.5, -2.5)
        for epoch in range(1, 5):
            push = (np.log10(strength) + 5.7) * epoch / 4
            accuracy = start - 0.012 * push**2 * stubborn - 0.01 * abs(rng.standard_normal())
            left = asr / (1 + np.exp(4 * (push - 1.1 * stubborn**0.5))) + 0.03 * rng.random()
            rows.append(
                {
                    "cell": entry["cell"], "trial": trial, "phase": "quasi_random", "round": trial // 2,
                    "parameters": "{}", "strength": strength, "status": "collapsed" if trial == 8 else "ok",
                    "reason": "", "artifact": "", "wall_s": 3.0, "epoch": epoch, "validation_accuracy": accuracy,
                    "validation_floor": VALIDATION_FLOOR, "validation_start": start,
                    "validation_accuracy_total": 1000, "validation_asr": min(1.0, left), "validation_asr_total": 900,
                    "validation_poisoned_accuracy": accuracy * (1 - left), "validation_loss": 2.0,
                    "training_loss": 1.9, "learning_rate": strength,
                }
            )  # fmt: skip
    return rows


def front_points(cell: dict[str, Any]) -> list[dict[str, Any]]:
    """What the epochs on a cell's validation front measure on test: a hundredth less CA, the same ASR."""
    rows = [row for row in trials(cell) if row["status"] == "ok"]
    places = front(np.array([(row["validation_accuracy"], row["validation_asr"]) for row in rows]))
    return [
        {
            "cell": cell["cell"], "trial": row["trial"], "epoch": row["epoch"], "artifact": "", "status": "ok",
            "reason": "", "sources": [],
            "measures": [
                measure._asdict()
                for measure in measures(
                    row["validation_accuracy"] - 0.01, row["validation_asr"], objective=cell["objective"]
                )
            ],
        }
        for row in (rows[place] for place in places)
    ]  # fmt: skip


def entry(objective: str, attack: str, repair: str, seed: int) -> dict[str, Any]:
    """One cell as the suite's document lists it."""
    searched = repair == "cleanclip" and attack != "none"
    axes = {"objective": objective, "attack": attack, "repair": repair, "seed": seed}
    key = content_key("cell", 1, axes)
    return {"cell": key, "dataset": "shapes", "model": "tiny-resnet", **axes, "searched": searched, "record": key}


def grid(attacks: tuple[str, ...], seeds: tuple[int, ...]) -> list[dict[str, Any]]:
    """All cells, in board order."""
    return [
        entry(objective, attack, repair, seed)
        for seed in seeds
        for objective in OBJECTIVES
        for attack in ("none", *attacks)
        for repair in REPAIRS
    ]


def rows_of(cell: dict[str, Any]) -> list[dict[str, Any]]:
    """Finished records of one cell; Blended is a little easier to repair, later seeds a little worse."""
    made = []
    for rule in rules(cell["repair"], cell["searched"]):
        accuracy, asr = LEVELS[cell["objective"], cell["repair"], rule]
        accuracy -= 0.013 * cell["seed"]
        if cell["attack"] == BLENDED and rule != "undefended":
            accuracy, asr = accuracy + 0.004 + 0.01 * cell["seed"], 0.8 * asr
        own = measures(accuracy, None if cell["attack"] == "none" else asr, objective=cell["objective"])
        made.append(record(cell, rule, made=own))
    return made


def write(
    store: Store,
    cells: Rows,
    changed: dict[str, Rows | None] | None = None,
    *,
    facts: dict[str, Any] | None = None,
) -> None:
    """Writes the suite `demo`; `changed` replaces the records of single cells, None leaves a cell without any.

    `facts` stand in the manifest of every record.
    """
    for cell in cells:
        rows = changed[cell["cell"]] if changed and cell["cell"] in changed else rows_of(cell)
        if rows is None:
            continue
        draft = store.draft("record", cell["record"])
        pq.write_table(pa.Table.from_pylist(rows, schema=RECORDS), draft.path("records.parquet"))
        if cell["searched"] and any(row["status"] == "ok" for row in rows):
            pq.write_table(pa.Table.from_pylist(trials(cell), schema=TRIALS), draft.path("trials.parquet"))
            pq.write_table(pa.Table.from_pylist(front_points(cell), schema=FRONT), draft.path("front.parquet"))
        draft.commit(facts or {})
    environment = {"python": "3.11.9", "torch": "2.15.0", "open_clip": "3.3.0", "threads": 2}
    suite = {"suite": "demo", "title": "Demo of the board", "key": content_key("suite", 1, "demo")}
    document = {"protocol": PROTOCOL, "environment": environment, "methods": methods(cells), "cells": cells}
    store.write_json("suites/demo.json", suite | document)


def make_store(path: Path, cells: Rows, changed: dict[str, Rows | None] | None = None) -> Store:
    """A store at `path` with the suite in it, as `write` has it."""
    store = Store(path)
    write(store, cells, changed)
    return store


def names(results: Results) -> Names:
    """What the board calls the methods of these results."""
    return names_of(results.cells, cards=results.cards)


def replace_record(store: Store, cell: dict[str, Any], table: pa.Table) -> None:
    """Another table where a cell's record stands: a whole artifact, since a file that was changed counts as absent."""
    artifact = store.find("record", cell["record"])
    assert artifact is not None
    shutil.rmtree(artifact.folder.parent)
    draft = store.draft("record", cell["record"])
    pq.write_table(table, draft.path("records.parquet"))
    draft.commit({})


def find(cells: list[dict[str, Any]], objective: str, attack: str, repair: str, seed: int = 0) -> dict[str, Any]:
    """The cell at a place."""
    wanted = (objective, attack, repair, seed)
    return next(c for c in cells if (c["objective"], c["attack"], c["repair"], c["seed"]) == wanted)


def broken() -> tuple[Rows, dict[str, Rows | None]]:
    """A suite in which much went wrong, with a hostile attack label and a hostile reason: (cells, changed)."""
    hostile = f"wanet(x={HOSTILE})"
    cells = grid((BADNET, BLENDED, hostile), (0,))
    changed: dict[str, Rows | None] = {}

    searched = find(cells, "mmcl-ssl", BADNET, "cleanclip")
    default, _, blind = rows_of(searched)
    failed = record(
        searched, "oracle", status="repair_failed", reason="no (trial, epoch) reached net ASR <= 5 % without collapsing"
    )
    changed[searched["cell"]] = [default, failed, blind]

    weak = find(cells, "mmcl", BLENDED, "none")
    (undefended,) = rows_of(weak)
    changed[weak["cell"]] = [undefended | {"status": "attack_did_not_plant", "reason": "undefended ASR 71 % < 80 %"}]

    crashed = find(cells, "mmcl", hostile, "fine-tuning")
    changed[crashed["cell"]] = [record(crashed, "default", status="failed", reason=HOSTILE)]
    changed[find(cells, "mmcl", hostile, "cleanclip")["cell"]] = None
    return cells, changed
