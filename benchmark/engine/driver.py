"""Drives a suite: stage after stage over the cells that have no final record yet. The store is the only state.

`data -> poison -> pretrain -> implant -> evaluate (undefended) -> detect -> pretrain again (on what a filter leaves) ->
defend (defaults, searches) -> evaluate (selected) -> record`. Attackers who need a model of their own train it first.
It may die anywhere: the same call finds what is finished and goes on. What fails becomes a status of the cells that
needed it; a user's mistake stops the run.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from rich.markup import escape

from benchmark.config.spec import Suite
from benchmark.data.skipped import told
from benchmark.engine import stage_calls
from benchmark.engine.local import Executor, cell_label
from benchmark.engine.monitor import Monitor
from benchmark.engine.plan import detect_work, repair_work, todo, with_twins
from benchmark.engine.run_state import RunState
from benchmark.engine.selection import CellResult, checked, choose, search_cell
from benchmark.engine.stage_calls import Evaluation
from benchmark.engine.task import Task, no_space
from benchmark.engine.trials import SearchCell, describe
from benchmark.errors import UserError, tells_no_space
from benchmark.stages import graph, record
from benchmark.stages.conditions import own_conditions, triggered_conditions
from benchmark.stages.evaluate import ModelRef
from benchmark.stages.graph import Cell
from benchmark.stages.record import skipped_rows
from benchmark.store.artifacts import Store

Chosens = Sequence[tuple[Cell, CellResult]]


class SuiteRun:
    """One run of a suite on an executor."""

    def __init__(
        self,
        store: Store,
        suite: Suite,
        cells: Sequence[Cell],
        executor: Executor,
        monitor: Monitor,
        *,
        asked: Sequence[Cell] | None = None,
    ) -> None:
        """`asked` are the cells of the suite to make; None: all of them."""
        self.store, self.suite, self.executor, self.monitor = store, suite, executor, monitor
        self.all_cells = list(cells)
        self.cells = todo(store, cells if asked is None else asked)
        self.standing = RunState(store, suite.gate)
        self.searched: dict[str, SearchCell] = {}
        self.results: dict[str, list[Any]] = {}

    def run(self) -> None:
        """Makes every record that is missing."""
        if not self.cells:
            return
        store, compute = self.store, self.executor.compute
        self.monitor.expect(sum(task.work for task in self._trainings()) + self._defense_work())
        # first of all, since a set that cannot be read is a user's mistake: it shows before any hour is spent
        self._make("data", stage_calls.data_tasks(self.cells))
        self._tell_skipped()
        # before the poison: attackers with a model of their own make their triggers with it
        self._make("pre-train from outside", stage_calls.outside_tasks(store, self.cells, compute))
        self._make("poison", stage_calls.poison_tasks(self.cells))
        self._make("pre-train", stage_calls.pretrain_tasks(store, self._with_twins(), compute))
        # after the clean twins, which these attackers start from
        self._make("implant", stage_calls.implant_tasks(self._unblocked(), compute))
        self._evaluate("evaluate undefended", stage_calls.undefended(self._unblocked()))
        self._judge()  # here, so that no defense is paid for on a model that has no backdoor
        self._make("detect", stage_calls.detect_tasks(self._defensible(), compute))
        self._make("pre-train again", stage_calls.retrain_tasks(store, self._detected(), compute))
        self._make("repair at defaults", stage_calls.default_tasks(self._with_repaired_twins(), compute))
        self._search()
        # on validation alone: nothing has looked at a repaired model on test until the choice stands
        chosen = [(cell, choose(self.standing, cell, self.searched, self.results)) for cell in self.cells]
        self._evaluate("evaluate repaired", self._repaired(chosen))
        self._record(chosen)

    def _make(self, title: str, tasks: Iterable[Task]) -> None:
        """Runs the tasks whose artifacts are missing and whose inputs are there."""
        unique = {task.key: task for task in tasks}
        if not unique:
            return
        missing = [task for task in unique.values() if not all(self.store.has(*item) for item in task.writes)]
        self.monitor.enter(title, total=len(unique), cached=len(unique) - len(missing))
        for task in unique.values():
            if task not in missing:
                self.monitor.expect(-task.work)
        # only pre-training pays for a group of workers on one model; all else is many small calls side by side
        trained = {task.stage for task in missing} == {"pretrain"}
        run = self.executor.pretrain if trained else self.executor.run
        # the longest first, or the last slot would work alone at the end
        for key, result in run(sorted(missing, key=lambda task: -task.work)).items():
            if result.user_error:  # the user can mend it, and a table full of failures would hide it
                raise UserError(result.reason)
            if result.status != "ok":
                for _, artifact in unique[key].writes:
                    self.standing.failures[artifact] = result

    def _tell_skipped(self) -> None:
        """Says, once for each set, which rows it was prepared without; also where it was in the store already."""
        cells = {(cell.keys.data, cell.keys.evaluation, cell.keys.outside_data): cell for cell in self.cells}.values()
        for line in dict.fromkeys(told(found) for cell in cells for found in skipped_rows(self.store, cell)):
            self.monitor.say(f"  [yellow]{escape(line)}[/yellow]")

    def _evaluate(self, title: str, wanted: Iterable[Evaluation]) -> None:
        self._make(title, stage_calls.evaluation_tasks(wanted, self.executor.compute))

    def _with_twins(self) -> list[Cell]:
        """The cells to do, and the clean twins that they are compared with."""
        return with_twins(self.cells, self.all_cells)

    def _with_repaired_twins(self) -> list[Cell]:
        """The cells to defend, and their clean twins through the same repairs, which tell the repaired floor."""
        cells = self._defensible()
        return cells + [graph.twin_cell(cell) for cell in cells if cell.experiment.attack]

    def _unblocked(self) -> list[Cell]:
        return [cell for cell in self.cells if not self.standing.blocked(cell)]

    def _defensible(self) -> list[Cell]:
        return [cell for cell in self.cells if self.standing.defensible(cell)]

    def _detected(self) -> list[Cell]:
        return [cell for cell in self._defensible() if cell.keys.detect not in self.standing.failures]

    def _judge(self) -> None:
        """Finds the attacks that did not plant; their repairs are not run."""
        # by model: all defenses of one attacked model share its verdict
        attacked = {cell.keys.pretrain: cell for cell in self.cells if cell.experiment.attack}
        for key, cell in attacked.items():
            why = self.standing.judge(cell)
            if why:
                self.standing.unplanted[key] = why
                bare = cell.experiment.model_copy(update=stage_calls.UNDEFENDED)
                self.monitor.say(f"  [yellow]{cell_label(bare)}: attack did not plant: {why}[/yellow]")

    def _trainings(self) -> list[Task]:
        store, compute = self.store, self.executor.compute
        found = stage_calls.pretrain_tasks(store, self._with_twins(), compute)
        found += stage_calls.outside_tasks(store, self.cells, compute)
        return found + stage_calls.retrain_tasks(store, self.cells, compute)

    def _defense_work(self) -> float:
        repaired = [cell.experiment for cell in self.cells if cell.experiment.repair]
        repairs = sum(repair_work(item) * (1 + item.search.trials if item.search else 1) for item in repaired)
        return repairs + sum(detect_work(cell.experiment) for cell in self.cells)

    def _search(self) -> None:
        cells = [cell for cell in self._defensible() if cell.experiment.search]
        if not cells:
            return
        self.searched = {cell.keys.record: search_cell(self.standing, cell) for cell in cells}
        searches = [describe(item, lambda key: self.standing.facts("defend", key)) for item in self.searched.values()]
        total, cached = sum(1 + item.search.trials for item in searches), sum(len(item.finished) for item in searches)
        self.monitor.enter("search", total=total, cached=cached)
        for item in searches:
            self.monitor.expect(-repair_work(self.searched[item.cell].cell.experiment) * len(item.finished))
        self.results = self.executor.search(self.searched, searches)
        if any(tells_no_space(trial.reason) for trials in self.results.values() for trial in trials):
            raise UserError(no_space(self.store))  # such trials say nothing about the repair

    def _repaired(self, chosen: Chosens) -> Iterable[Evaluation]:
        for cell, found in chosen:
            for choice in found.choices:
                if choice.selection != "undefended" and choice.artifact:
                    stage = "pretrain" if choice.detected else "defend"
                    ref = ModelRef(stage, choice.artifact, choice.epoch)
                    yield from (Evaluation(cell, ref, item, "test") for item in own_conditions(cell))
                if choice.repaired_twin:
                    ref = ModelRef("defend", *choice.repaired_twin)
                    yield from (Evaluation(cell, ref, item, "test") for item in triggered_conditions(cell))

    def _record(self, chosen: Chosens) -> None:
        environment = self.executor.environment()
        for cell, found in chosen:
            choices = [checked(self.standing, cell, choice) for choice in found.choices]
            record.write_record(
                self.store, cell, self.suite.name, choices, environment=environment, trials=found.trials
            )
