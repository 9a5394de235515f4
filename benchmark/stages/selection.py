"""From finished repairs and searches to choices: which weights stand for a cell under each rule, or why none do."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from benchmark.stages.cells import Cell
from benchmark.stages.common import required
from benchmark.stages.evaluations import ModelRef, of_outside
from benchmark.stages.keys import defend_key
from benchmark.stages.node import Ended, Ref
from benchmark.stages.trial import SearchCell, epochs_of, repair_of, rows_of, trial_rows
from benchmark.store.artifacts import Store
from benchmark.types import Repair
from tuners import search_space
from tuners.front import front_of, front_rows
from tuners.queue import TrialResult
from tuners.selection_rules import Row, Rule, search_rules, select_all

ENDED = ("ok", "collapsed")  # how a trial ends that nothing went wrong with


class Selected(NamedTuple):
    """What a selection rule chose for a cell: weights to evaluate, or the reason why there are none."""

    selection: str  # a rule, or "front"
    status: str
    reason: str = ""
    repair: Repair | None = None
    artifact: str | None = None  # key of the pretrain or defend artifact
    trial: int | None = None
    epoch: int | None = None
    trials: int = 0  # trials behind the rule
    wall_s: float = 0.0
    clean_pairs: int = 0
    detected: bool = False  # a detector's scores stand beside the measures of the weights
    repaired_twin: ModelRef | None = None  # whose ASR is the repaired floor

    @property
    def model(self) -> ModelRef | None:
        """The weights."""
        if self.artifact is None:
            return None
        return ModelRef("pretrain" if self.epoch is None else "defend", self.artifact, self.epoch)


class CellResult(NamedTuple):
    """A cell's choices; where it was searched, the table of its trials and its validation front too."""

    choices: list[Selected]
    trials: Sequence[Mapping[str, Any]] = ()
    front: Sequence[Selected] = ()  # by falling clean accuracy


def inputs_of(cell: Cell) -> Iterable[Ref]:
    """What a cell chooses from, in the order of the stages."""
    keys, experiment = cell.keys, cell.experiment
    yield Ref("gate", keys.pretrain)
    yield from (Ref("evaluate", item.key(cell)) for item in of_outside(cell))
    if experiment.search:
        yield Ref("search", keys.record)
    elif experiment.repair:
        yield Ref("defend", defend_key(cell, experiment.repair))
    if keys.detect:
        yield Ref("detect", keys.detect)
    if keys.retrained:
        yield Ref("pretrain", keys.retrained)


def choose(store: Store, cell: Cell, ended: Mapping[Ref, Ended]) -> CellResult:
    """The choices of one cell.

    Args:
        store: where the epochs of its repairs are.
        cell: the cell.
        ended: how each of `inputs_of` ended.
    """
    experiment = cell.experiment
    bad = [ended[ref] for ref in inputs_of(cell) if not ended[ref].ok]
    # a failure says more than a verdict that was reached without what failed
    failed = next((item for item in bad if item.status != "attack_did_not_plant"), bad[0] if bad else None)
    if experiment.repair is None and experiment.detector is None:
        return CellResult([_undefended(store, cell, failed)])
    if failed:  # one row of the default rule, however many rules the cell would have had
        return CellResult([Selected("default", failed.status, failed.reason)])
    if experiment.detector:
        return CellResult([_detected(store, cell)])
    if experiment.search:
        facts = ended[Ref("search", cell.keys.record)].facts
        return _from_search(store, facts["searched"], facts["results"])
    return CellResult([_default(store, cell)])


def _undefended(store: Store, cell: Cell, failed: Ended | None) -> Selected:
    if failed and failed.status != "attack_did_not_plant":
        return Selected("undefended", failed.status, failed.reason)
    key = cell.keys.pretrain
    seconds = (store.facts("pretrain", key) or {}).get("wall_s", 0.0)
    status, reason = (failed.status, failed.reason) if failed else ("ok", "")
    return Selected("undefended", status, reason, artifact=key, wall_s=seconds)


def _default(store: Store, cell: Cell) -> Selected:
    repair = cell.experiment.repair
    assert repair is not None
    key = defend_key(cell, repair)
    facts = required(store, "defend", key).facts
    if facts["status"] != "ok":  # a finding only where an epoch was measured, as in a search
        status = "repair_failed" if facts["epochs"] else facts["status"]
        return Selected("default", status, facts["reason"], repair, trials=1, wall_s=facts["wall_s"])
    last = epochs_of(store, key)[-1]["epoch"]  # a repair need not report every epoch
    return _repaired(store, "default", repair, key, trial=0, epoch=last, trials=1, wall_s=facts["wall_s"])


def _detected(store: Store, cell: Cell) -> Selected:
    keys = cell.keys
    facts = required(store, "detect", keys.detect or "").facts
    # a filter's price is the model that it asks to be trained again, not its scores alone
    again = required(store, "pretrain", keys.retrained).facts if keys.retrained else {}
    return Selected(
        "default",
        "ok",
        facts.get("reason", ""),
        artifact=keys.retrained,
        trials=1,
        wall_s=facts["wall_s"] + again.get("wall_s", 0.0),
        clean_pairs=facts["clean_pairs"],
        detected=True,
    )


def _repaired(store: Store, selection: str, repair: Any, key: str, **rest: Any) -> Selected:
    facts = store.facts("defend", key) or {}
    told = {"clean_pairs": facts.get("clean_pairs", 0)}
    if facts.get("status") == "ok":  # a run that collapsed says why of its end, not of the epoch that is taken
        told["reason"] = facts.get("reason", "")
    return Selected(selection, "ok", repair=repair, artifact=key, **told, **rest)


def _from_search(store: Store, searched: SearchCell, results: Sequence[TrialResult]) -> CellResult:
    cell, search = searched.cell, searched.cell.experiment.search
    assert search is not None
    rows, table, runs = [], [], {}
    start, floor = searched.start_accuracy, searched.floor
    for result in results:
        # the values' key finds the run, whichever trial or phase or earlier search it was made for
        repair = repair_of(cell, result.parameters)
        key, strength = defend_key(cell, repair), search_space.strength(repair)
        runs[result.trial] = repair, key
        epochs = epochs_of(store, key) if store.has("defend", key) else []
        rows += rows_of(epochs, trial=result.trial, phase=result.phase, strength=strength)
        table += trial_rows(cell, result, epochs, artifact=key, strength=strength, start=start, floor=floor)

    def weights(selection: str, row: Row) -> Selected:
        return _repaired(store, selection, *runs[row.trial], trial=row.trial, epoch=row.epoch)

    rules = search_rules(search, floor=floor, start_accuracy=start)
    chosen = select_all(rows, {result.trial: result.phase for result in results}, rules)
    choices = []
    for rule in rules:
        behind, found = [result for result in results if rule.may_look_at(result.phase)], chosen[rule.selection]
        reason = "; ".join(filter(None, (found.reason, _unfinished(behind))))
        choice = weights(rule.selection, found.row) if found.row else _none_chosen(rule, rows, behind)
        # what a rule costs are the trials that it looked at
        spent = sum(result.wall_s for result in behind)
        choices.append(choice._replace(reason=choice.reason or reason, trials=found.trials, wall_s=spent))
    front = front_rows(rows, front_of(search, floor=floor, start_accuracy=start))
    return CellResult(choices, table, [weights("front", row) for row in front])


def _none_chosen(rule: Rule, rows: Sequence[Row], behind: Sequence[TrialResult]) -> Selected:
    """A rule without a point: a result of the repair where it measured any epoch, else what befell its trials."""
    failed = next((result for result in behind if result.status not in ENDED), None)
    if failed is None or any(rule.may_look_at(row.phase) for row in rows):
        return Selected(rule.selection, "repair_failed")
    return Selected(rule.selection, failed.status, failed.reason)


def _unfinished(results: Sequence[TrialResult]) -> str:
    """`7 of 9 trials ended; KeyError: 'x'`: how many ran as they should and why the first other one did not."""
    failed = [result for result in results if result.status not in ENDED]
    return f"{len(results) - len(failed)} of {len(results)} trials ended; {failed[0].reason}" if failed else ""
