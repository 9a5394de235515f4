"""Drives a suite: stage after stage over the cells that have no final record yet. The store is the only state.

`data -> poison -> pretrain -> evaluate (undefended) -> defend (defaults, searches) -> evaluate (selected) -> record`.
It may die anywhere: the same call finds what is finished and goes on. What fails becomes a status of the cells that
needed it; a user's mistake stops the run.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from benchmark import graph, recording, stages
from benchmark.errors import UserError
from benchmark.executors import Executor, cell_label
from benchmark.graph import Cell, Condition
from benchmark.planning import num_rows, pretrain_work, repair_work, todo
from benchmark.progress import Monitor
from benchmark.recording import Choice
from benchmark.spec import Suite
from benchmark.stages import DefendInputs, ModelRef
from benchmark.store import Store
from benchmark.tasks import Task, TaskResult
from tuners import space
from tuners.rules import select_all
from tuners.trials import SearchCell, describe, keeper, rows_of, rules_of


class Evaluation(NamedTuple):
    """One model under one condition on one split."""

    cell: Cell
    ref: ModelRef
    condition: Condition
    split: str

    @property
    def key(self) -> str:
        """Content key of its outcomes."""
        return graph.evaluate_key(self.cell, self.condition, split=self.split, model=self.ref.key, epoch=self.ref.epoch)


class SuiteRun:
    """One run of a suite on an executor."""

    def __init__(self, store: Store, suite: Suite, cells: Sequence[Cell], executor: Executor, monitor: Monitor) -> None:
        self.store, self.suite, self.executor, self.monitor = store, suite, executor, monitor
        self.all_cells = list(cells)
        self.cells = todo(store, cells)
        self.failures: dict[str, TaskResult] = {}  # key of the artifact that is not there -> why
        self.choices: dict[str, list[Choice]] = {}
        self.trials: dict[str, list[dict[str, Any]]] = {}

    def run(self) -> None:
        """Makes every record that is missing."""
        if not self.cells:
            return
        self.monitor.expect(sum(task.work for task in self._pretrain_tasks()) + self._repair_work())
        self._make("data", self._data_tasks())
        self._make("poison", self._poison_tasks())
        self._make("pre-train", self._pretrain_tasks())
        self._make("evaluate undefended", self._undefended_tasks())
        self._judge()
        self._make("repair at defaults", self._default_tasks())
        self._search()
        self._choose()
        self._make("evaluate repaired", self._repaired_tasks())
        self._record()

    # --- tasks -------------------------------------------------------------------------------------------------

    def _make(self, title: str, tasks: Iterable[Task]) -> None:
        """Runs the tasks whose artifacts are missing and whose inputs are there."""
        unique = {task.key: task for task in tasks}
        missing = [task for task in unique.values() if not all(self.store.has(*item) for item in task.writes)]
        self.monitor.enter(title, total=len(unique), cached=len(unique) - len(missing))
        for task in unique.values():
            if task not in missing:
                self.monitor.expect(-task.work)
        run = self.executor.pretrain if title == "pre-train" else self.executor.run
        for key, result in run(sorted(missing, key=lambda task: -task.work)).items():
            if result.user_error:
                raise UserError(result.reason)
            if result.status != "ok":
                for _, artifact in unique[key].writes:
                    self.failures[artifact] = result

    def _blocked(self, cell: Cell) -> TaskResult | None:
        """Why a cell cannot go on: the first of its inputs that could not be made."""
        keys = cell.keys
        return next(
            (
                self.failures[k]
                for k in (keys.data, keys.evaluation, keys.poison, keys.pretrain, keys.twin)
                if k in self.failures
            ),
            None,
        )

    def _data_tasks(self) -> Iterable[Task]:
        for cell in self.cells:
            experiment, keys = cell.experiment, cell.keys
            for key, dataset, evaluation in (
                (keys.data, experiment.data, False),
                (keys.evaluation, experiment.evaluation, True),
            ):
                if dataset is not None:
                    yield Task(
                        "data", key, dataset.label, stages.prepare_stage, (cell, evaluation), 0, (("data", key),)
                    )

    def _poison_tasks(self) -> Iterable[Task]:
        for cell in self.cells:
            key, attack = cell.keys.poison, cell.experiment.attack
            if key and attack:
                yield Task("poison", key, attack.label, stages.poison_stage, (cell,), 0, (("poison", key),))

    def _pretrain_tasks(self) -> list[Task]:
        found = []
        for cell in self._with_twins():
            key, experiment = cell.keys.pretrain, cell.experiment
            work = pretrain_work(experiment, num_rows(self.store, cell))
            label = cell_label(experiment.model_copy(update={"repair": None}))
            arguments = (cell, self.executor.compute)
            found.append(Task("pretrain", key, label, stages.pretrain_stage, arguments, work, (("pretrain", key),)))
        return list({task.key: task for task in found}.values())

    def _with_twins(self) -> list[Cell]:
        """The cells to do, and the clean twins that they are compared with."""
        wanted = {cell.keys.twin for cell in self.cells}
        return self.cells + [cell for cell in self.all_cells if cell.keys.pretrain in wanted]

    def _undefended_tasks(self) -> Iterable[Task]:
        """Test: own conditions, and the twin under every trigger. Validation: where repairs start, and floors."""
        wanted: list[Evaluation] = []
        for cell in self.cells:
            if self._blocked(cell):
                continue
            own, keys = graph.own_conditions(cell), cell.keys
            wanted += [Evaluation(cell, ModelRef("pretrain", keys.pretrain), item, "test") for item in own]
            if cell.experiment.attack:
                under = (Condition(None, None, None), own[1])
                wanted += [Evaluation(cell, ModelRef("pretrain", keys.twin), item, "test") for item in under]
            if cell.experiment.search:
                wanted.append(Evaluation(cell, ModelRef("pretrain", keys.pretrain), own[0], "validation"))
                wanted += [Evaluation(cell, ModelRef("pretrain", keys.twin), item, "validation") for item in own[1:]]
        return self._evaluations(wanted)

    def _evaluations(self, wanted: Sequence[Evaluation]) -> Iterable[Task]:
        """One task per model and split, so that its text and its clean features are encoded once."""
        groups: dict[tuple[ModelRef, str], dict[str, Evaluation]] = {}
        for item in wanted:
            groups.setdefault((item.ref, item.split), {}).setdefault(item.key, item)
        for (ref, split), items in groups.items():
            first = next(iter(items.values()))
            conditions = tuple(item.condition for item in items.values())
            names = " + ".join(item.attack.name if item.attack else "clean" for item in conditions)
            experiment = first.cell.experiment
            bare = experiment if ref.stage == "defend" else experiment.model_copy(update={"repair": None})
            if ref.key == first.cell.keys.twin:
                bare = bare.model_copy(update={"attack": None})
            yield Task(
                "evaluate",
                f"{ref.key}-{ref.epoch}-{split}",
                f"{cell_label(bare)} · {split} · {names}",
                stages.evaluate_stage,
                (first.cell, ref, conditions, split, self.executor.compute),
                400.0 * len(conditions),
                tuple(("evaluate", key) for key in items),
            )

    # --- gate --------------------------------------------------------------------------------------------------

    def _judge(self) -> None:
        """Finds the attacks that did not plant; their repairs are not run."""
        self.unplanted: dict[str, str] = {}
        for cell in self.cells:
            if cell.experiment.attack is None or self._blocked(cell) or cell.keys.pretrain in self.unplanted:
                continue
            if not self._evaluated(cell):
                continue
            own = recording.measure_model(self.store, cell, model=cell.keys.pretrain, epoch=None, split="test")
            clean = recording.outcomes(
                self.store, cell, Condition(None, None, None), model=cell.keys.twin, epoch=None, split="test"
            )
            why = recording.planted(own, recording.measures([clean], target=None), self.suite.gate)
            if why:
                self.unplanted[cell.keys.pretrain] = why
                bare = cell.experiment.model_copy(update={"repair": None})
                self.monitor.say(f"  [yellow]{cell_label(bare)}: attack did not plant: {why}[/yellow]")

    def _evaluated(self, cell: Cell) -> bool:
        keys = [
            graph.evaluate_key(cell, item, split="test", model=cell.keys.pretrain, epoch=None)
            for item in graph.own_conditions(cell)
        ]
        return not any(key in self.failures for key in keys)

    def _repairable(self) -> list[Cell]:
        return [
            cell
            for cell in self.cells
            if cell.experiment.repair
            and not self._blocked(cell)
            and cell.keys.pretrain not in self.unplanted
            and self._evaluated(cell)
        ]

    # --- repairs -----------------------------------------------------------------------------------------------

    def _repair_work(self) -> float:
        return sum(
            repair_work(cell.experiment) * (1 + cell.experiment.search.trials if cell.experiment.search else 1)
            for cell in self.cells
            if cell.experiment.repair
        )

    def _default_tasks(self) -> Iterable[Task]:
        for cell in self._repairable():
            repair = cell.experiment.repair
            if repair is None or cell.experiment.search:
                continue
            key = graph.defend_key(cell, repair)
            keep = keeper(cell.experiment, repair, start_accuracy=0.0, floor=None)
            arguments = (cell, repair, DefendInputs(None, keep), self.executor.compute)
            work, label = repair_work(cell.experiment), cell_label(cell.experiment)
            yield Task("defend", key, label, stages.defend_stage, arguments, work, (("defend", key),))

    def _search(self) -> None:
        searched = {cell.keys.record: self._search_cell(cell) for cell in self._repairable() if cell.experiment.search}
        if not searched:
            return
        searches = [describe(item, self._defend_facts) for item in searched.values()]
        total = sum(1 + item.search.trials for item in searches)
        cached = sum(len(item.finished) for item in searches)
        self.monitor.enter("search", total=total, cached=cached)
        for item in searches:
            self.monitor.expect(-repair_work(searched[item.cell].cell.experiment) * len(item.finished))
        self.results = self.executor.search(searched, searches)
        self.searched = searched

    def _search_cell(self, cell: Cell) -> SearchCell:
        own = graph.own_conditions(cell)

        def measured(model: str, condition: Condition, name: str) -> float:
            table = recording.outcomes(self.store, cell, condition, model=model, epoch=None, split="validation")
            target = recording.target_index(self.store, cell) if condition.attack else None
            return recording.value(recording.measures([table], target=target), name)

        start = measured(cell.keys.pretrain, own[0], "clean_accuracy")
        floor = measured(cell.keys.twin, own[1], "attack_success_rate") if len(own) > 1 else None
        return SearchCell(cell, start, floor)

    def _defend_facts(self, key: str) -> Mapping[str, Any] | None:
        found = self.store.find("defend", key)
        return found.facts if found else None

    # --- selection and records ---------------------------------------------------------------------------------

    def _choose(self) -> None:
        repairable = {cell.keys.record for cell in self._repairable()}
        for cell in self.cells:
            key = cell.keys.record
            if cell.experiment.repair is None:
                self.choices[key] = [self._undefended(cell)]
            elif key not in repairable:
                self.choices[key] = [self._not_run(cell)]
            elif cell.experiment.search:
                self.choices[key], self.trials[key] = self._from_search(cell)
            else:
                self.choices[key] = [self._default(cell)]

    def _undefended(self, cell: Cell) -> Choice:
        blocked = self._blocked(cell) or next(
            (self.failures[key] for _, key in self._own_evaluations(cell) if key in self.failures), None
        )
        if blocked:
            return Choice("undefended", blocked.status, blocked.reason)
        why = self.unplanted.get(cell.keys.pretrain)
        facts = self.store.find("pretrain", cell.keys.pretrain)
        seconds = facts.facts["wall_s"] if facts else 0.0
        status = "attack_did_not_plant" if why else "ok"
        return Choice("undefended", status, why or "", artifact=cell.keys.pretrain, wall_s=seconds)

    def _own_evaluations(self, cell: Cell) -> list[tuple[str, str]]:
        return [
            ("evaluate", graph.evaluate_key(cell, item, split="test", model=cell.keys.pretrain, epoch=None))
            for item in graph.own_conditions(cell)
        ]

    def _not_run(self, cell: Cell) -> Choice:
        blocked = self._blocked(cell)
        why = self.unplanted.get(cell.keys.pretrain)
        if why:
            return Choice("default", "attack_did_not_plant", why)
        failed = blocked or next((self.failures[k] for _, k in self._own_evaluations(cell) if k in self.failures), None)
        return Choice("default", failed.status, failed.reason) if failed else Choice("default", "missing", "not run")

    def _default(self, cell: Cell) -> Choice:
        repair = cell.experiment.repair
        assert repair is not None
        key = graph.defend_key(cell, repair)
        failed, facts = self.failures.get(key), self._defend_facts(key)
        if failed or facts is None:
            return Choice("default", failed.status if failed else "missing", failed.reason if failed else "not run")
        if facts["status"] != "ok":
            return Choice("default", "repair_failed", facts["reason"], repair, trials=1, wall_s=facts["wall_s"])
        return self._choice("default", repair, key, trial=0, epoch=facts["epochs"], trials=1, wall_s=facts["wall_s"])

    def _choice(self, selection: str, repair: Any, key: str, **rest: Any) -> Choice:
        facts = self._defend_facts(key) or {}
        return Choice(selection, "ok", repair=repair, artifact=key, clean_pairs=facts.get("clean_pairs", 0), **rest)

    def _from_search(self, cell: Cell) -> tuple[list[Choice], list[dict[str, Any]]]:
        """The three selections of a searched cell, and the table of its trials."""
        searched = self.searched[cell.keys.record]
        rows, table, repairs, keys, seconds = [], [], {}, {}, 0.0
        for result in self.results[cell.keys.record]:
            repair = space.apply(cell.experiment.repair, result.parameters)  # type: ignore[type-var]
            key = graph.defend_key(cell, repair)
            repairs[result.trial], keys[result.trial] = repair, key
            seconds += result.wall_s
            epochs = stages.epochs_of(self.store, key) if self.store.has("defend", key) else []
            strength = space.strength(repair)
            rows += rows_of(epochs, trial=result.trial, phase=result.phase, strength=strength)
            table += recording.trial_rows(cell, result, epochs, artifact=key, strength=strength)
        rules = rules_of(cell.experiment.search, start_accuracy=searched.start_accuracy, floor=searched.floor)
        phases = {result.trial: result.phase for result in self.results[cell.keys.record]}
        choices = []
        for selection, chosen in select_all(rows, phases, rules).items():
            if chosen.row is None:
                choices.append(Choice(selection, "repair_failed", chosen.reason, trials=chosen.trials, wall_s=seconds))
                continue
            trial, epoch = chosen.row.trial, chosen.row.epoch
            choice = self._choice(
                selection, repairs[trial], keys[trial], trial=trial, epoch=epoch, trials=chosen.trials, wall_s=seconds
            )
            choices.append(choice._replace(reason=chosen.reason))
        return choices, table

    def _repaired_tasks(self) -> Iterable[Task]:
        return self._evaluations(
            [
                Evaluation(cell, ModelRef("defend", choice.artifact, choice.epoch), item, "test")
                for cell in self.cells
                for choice in self.choices[cell.keys.record]
                if choice.selection != "undefended" and choice.artifact
                for item in graph.own_conditions(cell)
            ]
        )

    def _record(self) -> None:
        environment = self.executor.environment()
        for cell in self.cells:
            choices = [self._checked(cell, choice) for choice in self.choices[cell.keys.record]]
            trials = self.trials.get(cell.keys.record, [])
            recording.write_record(self.store, cell, self.suite.name, choices, environment=environment, trials=trials)

    def _checked(self, cell: Cell, choice: Choice) -> Choice:
        """A choice whose evaluation failed carries that failure."""
        for item in graph.own_conditions(cell):
            if choice.artifact and choice.selection != "undefended":
                key = graph.evaluate_key(cell, item, split="test", model=choice.artifact, epoch=choice.epoch)
                if key in self.failures:
                    return choice._replace(status=self.failures[key].status, reason=self.failures[key].reason)
        return choice
