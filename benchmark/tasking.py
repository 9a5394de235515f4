"""From cells to tasks: which stage calls a set of cells needs. The driver drops those whose artifacts are there."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from benchmark import graph, stages
from benchmark.executors import cell_label
from benchmark.graph import Cell, Condition
from benchmark.planning import num_rows, pretrain_work, repair_work
from benchmark.stages import Compute, DefendInputs, ModelRef
from benchmark.store import Store
from benchmark.tasks import Task
from tuners.trials import keeper


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


def data_tasks(cells: Iterable[Cell]) -> Iterable[Task]:
    """Prepares each cell's pairs, and the set it is evaluated on where that is another."""
    for cell in cells:
        experiment, keys = cell.experiment, cell.keys
        for key, dataset, evaluation in (
            (keys.data, experiment.data, False),
            (keys.evaluation, experiment.evaluation, True),
        ):
            if dataset is not None:
                yield Task("data", key, dataset.label, stages.prepare_stage, (cell, evaluation), 0, (("data", key),))


def poison_tasks(cells: Iterable[Cell]) -> Iterable[Task]:
    """Poisons the pairs of each attacked cell."""
    for cell in cells:
        key, attack = cell.keys.poison, cell.experiment.attack
        if key and attack:
            yield Task("poison", key, attack.label, stages.poison_stage, (cell,), 0, (("poison", key),))


def pretrain_tasks(store: Store, cells: Iterable[Cell], compute: Compute) -> list[Task]:
    """Pre-trains each model once."""
    found: dict[str, Task] = {}
    for cell in cells:
        key, experiment = cell.keys.pretrain, cell.experiment
        work = pretrain_work(experiment, num_rows(store, cell))
        label = cell_label(experiment.model_copy(update={"repair": None}))
        found[key] = Task("pretrain", key, label, stages.pretrain_stage, (cell, compute), work, (("pretrain", key),))
    return list(found.values())


def undefended(cells: Iterable[Cell]) -> Iterable[Evaluation]:
    """Test: own conditions, and the twin under every trigger. Validation: where searches start, and floors."""
    for cell in cells:
        own, keys = graph.own_conditions(cell), cell.keys
        model, twin = ModelRef("pretrain", keys.pretrain), ModelRef("pretrain", keys.twin)
        yield from (Evaluation(cell, model, item, "test") for item in own)
        if cell.experiment.attack:
            under = (Condition(None, None, None), *own[1:])
            yield from (Evaluation(cell, twin, item, "test") for item in under)
        if cell.experiment.search:
            yield Evaluation(cell, model, own[0], "validation")
            yield from (Evaluation(cell, twin, item, "validation") for item in own[1:])


def evaluation_tasks(wanted: Iterable[Evaluation], compute: Compute) -> Iterable[Task]:
    """One task per model and split, so that its text and its clean features are encoded once."""
    groups: dict[tuple[ModelRef, str], dict[str, Evaluation]] = {}
    for item in wanted:
        groups.setdefault((item.ref, item.split), {}).setdefault(item.key, item)
    for (ref, split), items in groups.items():
        cell = next(iter(items.values())).cell
        conditions = tuple(item.condition for item in items.values())
        names = " + ".join(item.attack.name if item.attack else "clean" for item in conditions)
        yield Task(
            "evaluate",
            f"{ref.key}-{ref.epoch}-{split}",
            f"{_model_label(cell, ref)} · {split} · {names}",
            stages.evaluate_stage,
            (cell, ref, conditions, split, compute),
            400.0 * len(conditions),
            tuple(("evaluate", key) for key in items),
        )


def _model_label(cell: Cell, ref: ModelRef) -> str:
    experiment = cell.experiment
    if ref.stage == "defend":
        return cell_label(experiment)
    twin = {"attack": None} if ref.key == cell.keys.twin else {}
    return cell_label(experiment.model_copy(update={"repair": None, **twin}))


def default_tasks(cells: Sequence[Cell], compute: Compute) -> Iterable[Task]:
    """Runs the repairs that are not searched, as given."""
    for cell in cells:
        repair = cell.experiment.repair
        if repair is None or cell.experiment.search:
            continue
        key = graph.defend_key(cell, repair)
        inputs = DefendInputs(None, keeper(cell.experiment, repair, start_accuracy=0.0, floor=None))
        arguments = (cell, repair, inputs, compute)
        work, label = repair_work(cell.experiment), cell_label(cell.experiment)
        yield Task("defend", key, label, stages.defend_stage, arguments, work, (("defend", key),))
