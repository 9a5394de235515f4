"""From trials to choices: what a crash, a collapse and a cost become. Made-up trials in a real store, no training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmark.errors import NotApplicable
from benchmark.repairs.cleanclip import CleanCLIP
from benchmark.stages import record
from benchmark.stages.cells import Cell
from benchmark.stages.keys import cells_of, defend_key
from benchmark.stages.node import Ended, Ref
from benchmark.stages.select import Select
from benchmark.stages.selection import CellResult, choose, inputs_of
from benchmark.stages.trial import SearchCell, repair_of
from benchmark.store import schemas
from benchmark.store.artifacts import Store
from tests.helpers.finished import made_up, searched
from tuners.queue import TrialResult, failed

PHASES = ("default", "quasi_random", "quasi_random", "tpe", "tpe")
START = 0.734


def searched_cell(front: int = 0) -> Cell:
    """BadNet, CleanCLIP: searched, five trials."""
    return searched(trials=4, quasi_random=2, front=front)


def trial(number: int, *, status: str = "ok", reason: str = "", wall_s: float = 1.0) -> TrialResult:
    """A trial at its own learning rate."""
    parameters = {"learning_rate": 1e-4 * (number + 1)}
    return TrialResult("cell", number, 0, PHASES[number], parameters, None, None, status, reason, wall_s)  # type: ignore[arg-type]


def keep(store: Store, cell: Cell, result: TrialResult, epochs: list[tuple[float, float]]) -> None:
    """Writes what a trial measured: (CA, ASR) on validation, epoch by epoch."""
    draft = store.draft("defend", defend_key(cell, repair_of(cell, result.parameters)))
    rows = [
        {"epoch": 1 + place, "validation_accuracy": accuracy, "validation_asr": asr, "validation_loss": 1.0}
        for place, (accuracy, asr) in enumerate(epochs)
    ]
    pq.write_table(pa.Table.from_pylist(rows, schema=schemas.EPOCHS), draft.path("epochs.parquet"))
    draft.commit({"status": result.status, "reason": result.reason, "wall_s": result.wall_s, "clean_pairs": 100})


def chosen(store: Store, cell: Cell, results: list[TrialResult]) -> CellResult:
    """The cell's choices."""
    ended = dict.fromkeys(inputs_of(cell), Ended("ok"))
    searched = SearchCell(cell, START, 0.012)
    ended[Ref("search", cell.keys.record)] = Ended("ok", facts={"searched": searched, "results": results})
    return choose(store, cell, ended)


def by_rule(found: CellResult) -> dict[str, Any]:
    return {choice.selection: choice for choice in found.choices}


@pytest.mark.parametrize(
    ("error", "status", "final"),
    [
        (KeyError("weights"), "failed", False),
        (MemoryError("2 GiB"), "out_of_memory", False),
        (TimeoutError("an hour"), "timed_out", False),
        (NotApplicable("needs a transformer"), "not_applicable", True),
    ],
)
def test_a_search_whose_every_trial_crashed_has_the_status_of_its_trials(
    error: Exception, status: str, final: bool, tmp_path: Path
) -> None:
    report = failed(error)
    results = [trial(number, status=report["status"], reason=report["reason"]) for number in range(5)]  # type: ignore[typeddict-item]
    found = chosen(Store(tmp_path), searched_cell(), results)
    assert {choice.status for choice in found.choices} == {status}
    assert {choice.reason for choice in found.choices} == {report.get("reason")}
    assert (status in record.FINAL) == final  # the same command tries again what is not final
    assert {row["reason"] for row in found.trials} == {report.get("reason")}


@pytest.mark.parametrize(
    ("status", "epochs", "expected"),
    [("failed", 0, "failed"), ("failed", 2, "repair_failed"), ("refused", 0, "refused")],
)
def test_a_repair_without_a_search_is_a_finding_only_where_an_epoch_was_measured(
    status: str, epochs: int, expected: str, tmp_path: Path
) -> None:
    store, cell = Store(tmp_path), cells_of(made_up(repairs=(CleanCLIP(),)))[-1]
    assert cell.experiment.repair is not None
    facts = {"status": status, "epochs": epochs, "reason": "the loss is not finite", "wall_s": 2.0}
    store.draft("defend", defend_key(cell, cell.experiment.repair)).commit(facts)
    (found,) = choose(store, cell, dict.fromkeys(inputs_of(cell), Ended("ok"))).choices
    assert (found.status, found.reason) == (expected, "the loss is not finite")


def test_some_crashed_trials_are_counted_and_no_point_is_a_result_where_an_epoch_was_measured(tmp_path: Path) -> None:
    store, cell = Store(tmp_path), searched_cell()
    results = [trial(0, status="failed", reason="KeyError: 'x'"), trial(1), trial(2), trial(3), trial(4)]
    results[4] = trial(4, status="out_of_memory", reason="OutOfMemoryError")
    for result in results[1:4]:
        keep(store, cell, result, [(0.70, 0.9), (0.69, 0.5)])
    rules = by_rule(chosen(store, cell, results))
    assert (rules["default"].status, rules["default"].reason) == ("failed", "KeyError: 'x'")  # it measured nothing
    assert rules["oracle"].status == "repair_failed"
    assert rules["oracle"].reason == (
        "no (trial, epoch) of 5 trials reached net ASR <= 5 % without collapsing; 3 of 5 trials ended; KeyError: 'x'"
    )
    blind = rules["trigger_blind"]
    assert (blind.status, blind.trial, blind.reason) == ("repair_failed", None, blind.reason)
    assert "2 of 3 trials ended" in blind.reason


def test_a_refused_trial_stands_for_nothing_and_leaves_the_others_alone(tmp_path: Path) -> None:
    store, cell, why = Store(tmp_path), searched_cell(), "a repair must change the suspect model"
    results = [trial(0, status="refused", reason=why), trial(1), trial(2), trial(3), trial(4)]
    for result in results:
        keep(store, cell, result, [] if result.trial == 0 else [(0.72, 0.02)])
    rules = by_rule(chosen(store, cell, results))
    assert (rules["default"].status, rules["default"].reason) == ("refused", why)
    assert (rules["oracle"].status, rules["oracle"].reason) == ("ok", f"4 of 5 trials ended; {why}")
    every = [trial(number, status="refused", reason=why) for number in range(5)]
    assert {choice.status for choice in chosen(Store(tmp_path / "all"), cell, every).choices} == {"refused"}
    assert "refused" in record.FINAL  # it is a finding: no run tries it again


def test_what_is_told_of_a_run_that_ended_well_stands_beside_its_numbers(tmp_path: Path) -> None:
    store, cell = Store(tmp_path), searched_cell()
    told, fell = trial(0, reason="weights 98 % of the way"), trial(1, status="collapsed", reason="CA .2 after epoch 2")
    keep(store, cell, told, [(0.72, 0.5)])
    keep(store, cell, fell, [(0.72, 0.02), (0.2, 0.0)])
    rules = by_rule(chosen(store, cell, [told, fell]))
    assert (rules["default"].status, rules["default"].reason) == ("ok", told.reason)
    assert (rules["oracle"].status, rules["oracle"].epoch, rules["oracle"].reason) == ("ok", 1, "")


def test_a_collapsed_trial_does_not_stand_as_the_oracles_repair(tmp_path: Path) -> None:
    """As in `smoke`: the only point within the bound is epoch 1 of a trial that fell from CA 73 to 20."""
    store, cell = Store(tmp_path), searched_cell()
    results = [trial(0), trial(1, status="collapsed", reason="validation accuracy 0.205 after epoch 1")]
    keep(store, cell, results[0], [(0.72, 0.5)])
    keep(store, cell, results[1], [(0.205, 0.014)])
    rules = by_rule(chosen(store, cell, results))
    assert (rules["oracle"].status, rules["oracle"].artifact) == ("repair_failed", None)
    assert "trials ended" not in rules["oracle"].reason  # a collapse is an end like any other
    assert rules["default"].status == "ok"


def test_every_rule_costs_the_trials_behind_it(tmp_path: Path) -> None:
    store, cell = Store(tmp_path), searched_cell()
    results = [trial(number, wall_s=10.0**number) for number in range(5)]
    for result in results:
        keep(store, cell, result, [(0.72, 0.02)])
    rules = by_rule(chosen(store, cell, results))
    assert {name: rule.wall_s for name, rule in rules.items()} == {
        "default": 1.0,
        "oracle": 11111.0,
        "trigger_blind": 111.0,
    }
    assert {name: rule.trials for name, rule in rules.items()} == {"default": 1, "oracle": 5, "trigger_blind": 3}


def test_the_validation_front_is_evaluated_on_test_and_the_record_waits_for_it(tmp_path: Path) -> None:
    store, cell = Store(tmp_path), searched_cell(front=2)
    results = [trial(number) for number in range(4)]
    for result, measured in zip(results, [(0.72, 0.9), (0.70, 0.4), (0.60, 0.38), (0.50, 0.01)], strict=True):
        keep(store, cell, result, [measured])
    found = chosen(store, cell, results)
    assert [(point.trial, point.epoch) for point in found.front] == [(1, 1), (3, 1)]  # at most two, of four
    assert not chosen(store, searched_cell(), results).front
    (node,) = Select().nodes(cell, lambda _: 1)
    wanted = list(Select().then(node, Ended("ok", facts={"result": found})))
    record = next(item for item in wanted if item.stage.name == "record")
    on_test = {item.arguments[1].key for item in wanted if item.stage.name == "evaluate"}
    assert {point.artifact for point in found.front} <= on_test
    assert {item.ref for item in wanted if item.stage.name == "evaluate"} <= set(record.after)
