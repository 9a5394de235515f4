"""From finished repairs and searches to choices: which weights stand for a cell under each rule, or why none do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from benchmark.engine.run_state import RunState
from benchmark.engine.task import TaskResult
from benchmark.engine.trials import SearchCell, rows_of, rules_of
from benchmark.stages import graph, measuring, record
from benchmark.stages.conditions import ConditionSpec, evaluate_key, own_conditions, triggered_conditions
from benchmark.stages.defend import epochs_of
from benchmark.stages.graph import Cell
from benchmark.stages.record import Selected
from tuners import search_space
from tuners.queue import TrialResult
from tuners.selection_rules import Row, Rule, select_all

ENDED = ("ok", "collapsed")  # how a trial ends that nothing went wrong with


class CellResult(NamedTuple):
    """A cell's choices, and the table of its trials where it was searched."""

    choices: list[Selected]
    trials: Sequence[Mapping[str, Any]] = ()


def search_cell(standing: RunState, cell: Cell) -> SearchCell:
    """A cell with what its search's rules compare with: validation CA of the start, ASR of the clean twin."""
    own, target = own_conditions(cell), measuring.target_index(standing.store, cell)

    def measured(model: str, condition: ConditionSpec, name: str) -> float:
        table = measuring.outcomes(standing.store, cell, condition, model=model, epoch=None, split="validation")
        aim = target if condition.attack else None
        return measuring.value(measuring.measures([table], target=aim), name)

    start = measured(cell.keys.pretrain, own[0], "clean_accuracy")
    # own[0] is clean, own[1] the attack on the model as it is: searches look at no transformed one
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
    if not standing.defensible(cell):  # one row of the default rule, however many rules the cell would have had
        return CellResult([_not_run(standing, cell)])
    if cell.experiment.detector:
        return CellResult([_detected(standing, cell)])
    found = (
        _from_search(standing, searched[key], results[key])
        if cell.experiment.search
        else CellResult([_default(standing, cell)])
    )
    return found._replace(choices=[with_repaired_twin(standing, cell, choice) for choice in found.choices])


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
    # a filter's price is the model that it asks to be trained again, not its scores alone
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
    rows, table, repairs, keys = [], [], {}, {}
    limits = {"start": searched.start_accuracy, "floor": searched.floor}
    for result in results:
        # the values' key finds the run, whichever trial or phase or earlier search it was made for
        repair = search_space.apply(cell.experiment.repair, result.parameters)  # type: ignore[type-var]
        key = graph.defend_key(cell, repair)
        repairs[result.trial], keys[result.trial] = repair, key
        epochs = epochs_of(standing.store, key) if standing.store.has("defend", key) else []
        strength = search_space.strength(repair)
        rows += rows_of(epochs, trial=result.trial, phase=result.phase, strength=strength)
        table += record.trial_rows(cell, result, epochs, artifact=key, strength=strength, **limits)
    rules = rules_of(cell.experiment.search, start_accuracy=searched.start_accuracy, floor=searched.floor)
    chosen = select_all(rows, {result.trial: result.phase for result in results}, rules)
    choices = []
    for rule in rules:
        behind, found = [result for result in results if rule.may_look_at(result.phase)], chosen[rule.selection]
        # what a rule costs are the trials that it looked at
        spent = {"trials": found.trials, "wall_s": sum(result.wall_s for result in behind)}
        reason = "; ".join(filter(None, (found.reason, _unfinished(behind))))
        if found.row is None:
            choices.append(_none_chosen(rule, rows, behind, reason)._replace(**spent))
            continue
        trial, epoch = found.row.trial, found.row.epoch
        choice = _repaired(standing, rule.selection, repairs[trial], keys[trial], trial=trial, epoch=epoch, **spent)
        choices.append(choice._replace(reason=reason))
    return CellResult(choices, table)


def _none_chosen(rule: Rule, rows: Sequence[Row], behind: Sequence[TrialResult], reason: str) -> Selected:
    """A rule without a point: a result of the repair where it measured any epoch, else what befell its trials."""
    failed = next((result for result in behind if result.status not in ENDED), None)
    if failed is None or any(rule.may_look_at(row.phase) for row in rows):
        return Selected(rule.selection, "repair_failed", reason)
    return Selected(rule.selection, failed.status, failed.reason)


def _unfinished(results: Sequence[TrialResult]) -> str:
    """`7 of 9 trials ended; KeyError: 'x'`: how many ran as they should and why the first other one did not."""
    failed = [result for result in results if result.status not in ENDED]
    return f"{len(results) - len(failed)} of {len(results)} trials ended; {failed[0].reason}" if failed else ""


def with_repaired_twin(standing: RunState, cell: Cell, choice: Selected) -> Selected:
    """A repair's result at its defaults, with what the same repair made of the clean twin where that is there."""
    repair = cell.experiment.repair
    if repair is None or cell.experiment.attack is None or (choice.selection, choice.status) != ("default", "ok"):
        return choice
    key = graph.defend_key(graph.twin_cell(cell), repair)
    if (standing.facts("defend", key) or {}).get("status") != "ok":
        return choice
    epoch = epochs_of(standing.store, key)[-1]["epoch"]
    return choice._replace(repaired_twin=record.RepairedTwin(key, epoch))


def checked(standing: RunState, cell: Cell, choice: Selected) -> Selected:
    """A choice whose evaluation failed carries that failure; it does without a twin whose evaluation failed."""
    model = choice.artifact
    if model is None or choice.selection == "undefended":  # an undefended model's failure blocks the cell before
        return choice
    twin, triggered = choice.repaired_twin, triggered_conditions(cell)
    if twin and _failure(standing, cell, triggered, model=twin.artifact, epoch=twin.epoch):
        # the repaired floor is context: a repair's own numbers do not hang on it
        choice = choice._replace(repaired_twin=None)
    failed = _failure(standing, cell, own_conditions(cell), model=model, epoch=choice.epoch)
    return choice._replace(status=failed.status, reason=failed.reason) if failed else choice


def _failure(
    standing: RunState, cell: Cell, conditions: Sequence[ConditionSpec], *, model: str, epoch: int | None
) -> TaskResult | None:
    """The first evaluation on test that failed."""
    keys = (evaluate_key(cell, item, split="test", model=model, epoch=epoch) for item in conditions)
    return next((standing.failures[key] for key in keys if key in standing.failures), None)
