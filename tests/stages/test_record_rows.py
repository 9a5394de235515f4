"""What a record says stands behind a row whose rule found nothing: its trials, its epochs, its tables."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from benchmark.repairs.cleanclip import CleanCLIP
from benchmark.stages.cells import Cell
from benchmark.stages.keys import cells_of, defend_key
from benchmark.stages.record import write_record
from benchmark.stages.selection import Selected
from benchmark.store.artifacts import Store
from tests.helpers.finished import made_up, searched

CODE = {"version": "9.9", "commit": "c0ffee", "dirty": False}
START, FLOOR = 0.6, 0.1


SEARCHED = searched(trials=2, quasi_random=1, asr_bound=0.05, bound_on="net", collapse=0.5)


def written(store: Store, cell: Cell, choice: Selected, trials: Sequence[dict[str, Any]] = ()) -> dict[str, Any]:
    """The one row of a record."""
    write_record(store, cell, "made-up", [choice], environment={"code": CODE}, trials=trials)
    found = store.find("record", cell.keys.record)
    assert found is not None
    (row,) = pq.read_table(found.path("records.parquet")).to_pylist()
    return row


def epoch(
    trial: int, phase: str, number: int | None, accuracy: float, asr: float, status: str = "ok"
) -> dict[str, Any]:
    head = {"trial": trial, "phase": phase, "status": status, "validation_start": START, "validation_floor": FLOOR}
    measured = {"epoch": number, "validation_accuracy": accuracy, "validation_asr": asr}
    return head | (measured if number else {})


TRIALS = [
    epoch(0, "default", 1, 0.55, 0.14),  # net .04: met
    epoch(0, "default", 2, 0.29, 0.02, "ok"),  # below half of the start: collapsed, whatever its ASR
    epoch(1, "quasi_random", 1, 0.5, 0.16),  # net .06: not met
    epoch(1, "quasi_random", 2, 0.5, 0.15),  # net .05, the bound itself: met
    epoch(2, "tpe", None, 0, 0, "out_of_memory"),
]


@pytest.mark.parametrize(
    ("rule", "statuses", "measured", "within"),
    [
        ("default", {"ok": 1}, 2, 1),
        ("trigger_blind", {"ok": 2}, 4, 2),
        ("oracle", {"ok": 2, "out_of_memory": 1}, 4, 2),
    ],
)
def test_a_rule_counts_the_trials_that_it_may_look_at(
    tmp_path: Path, rule: str, statuses: dict[str, int], measured: int, within: int
) -> None:
    choice = Selected(rule, "repair_failed", "nothing qualified", trials=3)
    row = written(Store(tmp_path), SEARCHED, choice, TRIALS)
    assert {one["status"]: one["count"] for one in row["trial_statuses"]} == statuses
    assert (row["epochs_measured"], row["epochs_within_bound"]) == (measured, within)
    assert [(one["role"], one["split"]) for one in row["sources"]] == [
        ("validation_start", "validation"),
        ("validation_floor", "validation"),
    ]


def test_defaults_that_failed_name_the_epochs_that_they_left(tmp_path: Path) -> None:
    store, cell = Store(tmp_path), cells_of(made_up(repairs=(CleanCLIP(),)))[-1]
    assert cell.experiment.repair is not None
    key = defend_key(cell, cell.experiment.repair)
    store.draft("defend", key).commit({"status": "collapsed", "epochs": 3})
    row = written(store, cell, Selected("default", "repair_failed", "CA .1", trials=1, wall_s=2.0))
    assert row["trial_statuses"] == [{"status": "collapsed", "count": 1}]
    assert (row["epochs_measured"], row["epochs_within_bound"]) == (3, None)
    assert [(one["role"], one["stage"], one["key"]) for one in row["sources"]] == [("epochs", "defend", key)]


def test_a_row_that_was_not_run_claims_no_effort(tmp_path: Path) -> None:
    choice = Selected("default", "attack_did_not_plant", "ASR 0.1")
    row = written(Store(tmp_path), SEARCHED, choice)
    assert row["sources"] == [] and row["trial_statuses"] is None and row["epochs_measured"] is None
    assert (row["code_version"], row["code_commit"], row["code_dirty"]) == ("9.9", "c0ffee", False)
    assert (row["dataset_settings"], row["evaluation"], row["start_from"]) == ('{"num_rows": 400}', None, None)
