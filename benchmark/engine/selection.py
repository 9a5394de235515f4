"""From finished repairs and searches to choices: which weights stand for a cell under each rule, or why none do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from benchmark.engine.run_state import RunState
from benchmark.engine.trials import SearchCell, rows_of, rules_of
from benchmark.stages import graph, record
from benchmark.stages.defend import epochs_of
from benchmark.stages.graph import Cell, ConditionSpec
from benchmark.stages.record import Selected
from tuners import search_space
from tuners.selection_rules import select_all


class CellResult(NamedTuple):
    """A cell's choices, and the table of its trials where it was searched."""

    choices: list[Selected]
    trials: Sequence[Mapping[str, Any]] = ()


def search_cell(standing: RunState, cell: Cell) -> SearchCell:
    """A cell with what its search's rules compare with: validation CA of the start, ASR of the clean twin."""
    own, target = graph.own_conditions(cell), record.target_index(standing.store, cell)

    def measured(model: str, condition: ConditionSpec, name: str) -> float:
        table = record.outcomes(standing.store, cell, condition, model=model, epoch=None, split="validation")
        aim = target if condition.attack else None
        return record.value(record.measures([table], target=aim), name)

    start = measured(cell.keys.pretrain, own[0], "clean_accuracy")
    floor = measured(cell.keys.twin, own[1], "attack_success_rate") if cell.experiment.attack else None
    return SearchCell(cell, start, floor)


def choose(
    standing: RunState, cell: Cell, searched: Mapping[str, SearchCell], results: Mapping[str, Sequence[Any]]
) -> CellResult:
    """The choices of one cell.

    Args:
        standing: what failed and what did not plant.
        cell: the cell.
        searched: record key -> the cell as its search saw it.
        results: record key -> its finished trials.
    """
    key = cell.keys.record
    if cell.experiment.repair is None and cell.experiment.detector is None:
        return CellResult([_undefended(standing, cell)])
    if not standing.defensible(cell):
        return CellResult([_not_run(standing, cell)])
    if cell.experiment.detector:
        return CellResult([_detected(standing, cell)])
    if cell.experiment.search:
        return _from_search(standing, searched[key], results[key])
    return CellResult([_default(standing, cell)])


def _undefended(standing: RunState, cell: Cell) -> Selected:
    blocked = standing.blocked(cell)
    if blocked:
        return Selected("undefended", blocked.status, blocked.reason)
    key = cell.keys.pretrain
    why = standing.unplanted.get(key)
    seconds = (standing.facts("pretrain", key) or {}).get("wall_s", 0.0)
    return Selected("undefended", "attack_did_not_plant" if why else "ok", why or "", artifact=key, wall_s=seconds)


def _not_run(standing: RunState, cell: Cell) -> Selected:
    blocked, why = standing.blocked(cell), standing.unplanted.get(cell.keys.pretrain)
    if blocked:
        return Selected("default", blocked.status, blocked.reason)
    return Selected("default", "attack_did_not_plant", why) if why else Selected("default", "missing", "not run")


def _default(standing: RunState, cell: Cell) -> Selected:
    repair = cell.experiment.repair
    assert repair is not None
    key = graph.defend_key(cell, repair)
    failed, facts = standing.failures.get(key), standing.facts("defend", key)
    if failed or facts is None:
        return Selected("default", failed.status if failed else "missing", failed.reason if failed else "not run")
    if facts["status"] != "ok":
        return Selected("default", "repair_failed", facts["reason"], repair, trials=1, wall_s=facts["wall_s"])
    last = epochs_of(standing.store, key)[-1]["epoch"]  # a repair need not report every epoch
    return _repaired(standing, "default", repair, key, trial=0, epoch=last, trials=1, wall_s=facts["wall_s"])


def _detected(standing: RunState, cell: Cell) -> Selected:
    keys = cell.keys
    assert keys.detect is not None
    failed = next((standing.failures[key] for key in (keys.detect, keys.retrained) if key in standing.failures), None)
    facts = standing.facts("detect", keys.detect)
    if failed or facts is None:
        return Selected("default", failed.status if failed else "missing", failed.reason if failed else "not run")
    again = (standing.facts("pretrain", keys.retrained) or {}) if keys.retrained else {}
    seconds = facts["wall_s"] + again.get("wall_s", 0.0)
    return Selected(
        "default",
        "ok",
        facts.get("reason", ""),
        artifact=keys.retrained,
        trials=1,
        wall_s=seconds,
        clean_pairs=facts["clean_pairs"],
        detected=True,
    )


def _repaired(standing: RunState, selection: str, repair: Any, key: str, **rest: Any) -> Selected:
    facts = standing.facts("defend", key) or {}
    return Selected(selection, "ok", repair=repair, artifact=key, clean_pairs=facts.get("clean_pairs", 0), **rest)


def _from_search(standing: RunState, searched: SearchCell, results: Sequence[Any]) -> CellResult:
    cell = searched.cell
    rows, table, repairs, keys, seconds = [], [], {}, {}, 0.0
    for result in results:
        repair = search_space.apply(cell.experiment.repair, result.parameters)  # type: ignore[type-var]
        key = graph.defend_key(cell, repair)
        repairs[result.trial], keys[result.trial] = repair, key
        seconds += result.wall_s
        epochs = epochs_of(standing.store, key) if standing.store.has("defend", key) else []
        strength = search_space.strength(repair)
        rows += rows_of(epochs, trial=result.trial, phase=result.phase, strength=strength)
        table += record.trial_rows(cell, result, epochs, artifact=key, strength=strength)
    rules = rules_of(cell.experiment.search, start_accuracy=searched.start_accuracy, floor=searched.floor)
    phases = {result.trial: result.phase for result in results}
    choices = []
    for selection, found in select_all(rows, phases, rules).items():
        spent = {"trials": found.trials, "wall_s": seconds}
        if found.row is None:
            choices.append(Selected(selection, "repair_failed", found.reason, **spent))
            continue
        trial, epoch = found.row.trial, found.row.epoch
        choice = _repaired(standing, selection, repairs[trial], keys[trial], trial=trial, epoch=epoch, **spent)
        choices.append(choice._replace(reason=found.reason))
    return CellResult(choices, table)


def checked(standing: RunState, cell: Cell, choice: Selected) -> Selected:
    """A choice whose evaluation failed carries that failure."""
    if choice.artifact is None or choice.selection == "undefended":
        return choice
    for item in graph.own_conditions(cell):
        key = graph.evaluate_key(cell, item, split="test", model=choice.artifact, epoch=choice.epoch)
        if key in standing.failures:
            return choice._replace(status=standing.failures[key].status, reason=standing.failures[key].reason)
    return choice
