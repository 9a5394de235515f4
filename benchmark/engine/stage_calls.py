"""From cells to tasks: which stage calls a set of cells needs. The driver drops those whose artifacts are there."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from benchmark.engine.local import cell_label
from benchmark.engine.plan import detect_work, num_rows, pretrain_work, repair_work
from benchmark.engine.task import Task
from benchmark.engine.trials import keeper
from benchmark.stages import graph
from benchmark.stages.common import Compute
from benchmark.stages.conditions import (
    ConditionSpec,
    evaluate_key,
    outside_condition,
    own_conditions,
    triggered_conditions,
)
from benchmark.stages.defend import DefendInputs, defend_stage, implant_stage
from benchmark.stages.detect import detect_stage
from benchmark.stages.evaluate import ModelRef, evaluate_stage
from benchmark.stages.graph import Cell
from benchmark.stages.prepare import outside_stage, poison_stage, prepare_stage
from benchmark.stages.pretrain import pretrain_stage
from benchmark.store.artifacts import Store
from benchmark.types import ModelAttack

# A model is shared by all its defenses, so that its label names none of them.
UNDEFENDED = {"repair": None, "detector": None}


class Evaluation(NamedTuple):
    """One model under one condition on one split."""

    cell: Cell
    ref: ModelRef
    condition: ConditionSpec
    split: str

    @property
    def key(self) -> str:
        """Content key of its outcomes."""
        return evaluate_key(self.cell, self.condition, split=self.split, model=self.ref.key, epoch=self.ref.epoch)


def data_tasks(cells: Iterable[Cell]) -> Iterable[Task]:
    """Prepares each cell's pairs, the set that judges it where that is another, and pairs of a model from outside."""
    for cell in cells:
        experiment, keys = cell.experiment, cell.keys
        for key, dataset, evaluation in (
            (keys.data, experiment.data, False),
            (keys.evaluation, experiment.evaluation, True),
        ):
            if dataset is not None:
                yield Task("data", key, dataset.label, prepare_stage, (cell, evaluation), 0, (("data", key),))
        if keys.outside_data:
            label, writes = f"outside · {experiment.data.label}", (("data", keys.outside_data),)
            yield Task("data", keys.outside_data, label, outside_stage, (cell,), 0, writes)


def poison_tasks(cells: Iterable[Cell]) -> Iterable[Task]:
    """Poisons the pairs of each attacked cell."""
    for cell in cells:
        key, attack = cell.keys.poison, cell.experiment.attack
        if key and attack:
            yield Task("poison", key, attack.label, poison_stage, (cell,), 0, (("poison", key),))


def pretrain_tasks(store: Store, cells: Iterable[Cell], compute: Compute) -> list[Task]:
    """Pre-trains each model once; those that an attacker implants are made from the clean twins."""
    trained = (cell for cell in cells if not isinstance(cell.experiment.attack, ModelAttack))
    return _trainings(store, trained, compute, prefix="")


def outside_tasks(store: Store, cells: Iterable[Cell], compute: Compute) -> list[Task]:
    """Pre-trains the clean models from outside that attackers and defenders ask for."""
    asked = (graph.outside_cell(cell) for cell in cells if cell.keys.outside)
    return _trainings(store, asked, compute, prefix="outside · ")


def retrain_tasks(store: Store, cells: Iterable[Cell], compute: Compute) -> list[Task]:
    """Pre-trains again on what a filter leaves."""
    filtered = (graph.retrained_cell(cell) for cell in cells if cell.keys.retrained)
    return _trainings(store, filtered, compute, prefix="again · ")


def _trainings(store: Store, cells: Iterable[Cell], compute: Compute, *, prefix: str) -> list[Task]:
    found: dict[str, Task] = {}
    for cell in cells:
        key, experiment = cell.keys.pretrain, cell.experiment
        # a model that is trained again belongs to its filter; every other one to all cells that share its key
        work = pretrain_work(experiment, num_rows(store, cell))
        bare = experiment if key == cell.keys.retrained else experiment.model_copy(update=UNDEFENDED)
        arguments, writes = (cell, compute), (("pretrain", key),)
        found[key] = Task("pretrain", key, prefix + cell_label(bare), pretrain_stage, arguments, work, writes)
    return list(found.values())


def implant_tasks(cells: Iterable[Cell], compute: Compute) -> Iterable[Task]:
    """Implants the model attacks into clean twins."""
    for cell in cells:
        if isinstance(cell.experiment.attack, ModelAttack):
            key, label = cell.keys.pretrain, cell_label(cell.experiment.model_copy(update=UNDEFENDED))
            work = 5.0 * cell.experiment.splits.clean
            yield Task("implant", key, label, implant_stage, (cell, compute), work, (("pretrain", key),))


def detect_tasks(cells: Iterable[Cell], compute: Compute) -> Iterable[Task]:
    """Scores pairs, inputs or models."""
    for cell in cells:
        key = cell.keys.detect
        if key:
            work, label = detect_work(cell.experiment), cell_label(cell.experiment)
            yield Task("detect", key, label, detect_stage, (cell, compute), work, (("detect", key),))


def undefended(cells: Iterable[Cell]) -> Iterable[Evaluation]:
    """Test: own conditions, and the twin under every trigger. Validation: where searches start, and floors."""
    for cell in cells:
        own, keys = own_conditions(cell), cell.keys
        model, twin = ModelRef("pretrain", keys.pretrain), ModelRef("pretrain", keys.twin)
        yield from (Evaluation(cell, model, item, "test") for item in own)
        if cell.experiment.attack:
            # without a target, as its own clean cell evaluates it: one outcome serves both
            under = (ConditionSpec(None, None, None), *triggered_conditions(cell))
            yield from (Evaluation(cell, twin, item, "test") for item in under)
        if keys.outside:
            yield Evaluation(cell, ModelRef("pretrain", keys.outside), outside_condition(), "test")
        if cell.experiment.search:
            yield Evaluation(cell, model, own[0], "validation")
            yield from (Evaluation(cell, twin, item, "validation") for item in own[1:2] if item.attack)


def evaluation_tasks(wanted: Iterable[Evaluation], compute: Compute) -> Iterable[Task]:
    """One task per model and split, so that its text and its clean features are encoded once."""
    groups: dict[tuple[ModelRef, str], dict[str, Evaluation]] = {}
    for item in wanted:
        groups.setdefault((item.ref, item.split), {}).setdefault(item.key, item)
    for (ref, split), items in groups.items():
        cell = next(iter(items.values())).cell
        conditions = tuple(item.condition for item in items.values())
        names = " + ".join(item.name for item in conditions)
        yield Task(
            "evaluate",
            f"{ref.key}-{ref.epoch}-{split}",
            f"{_model_label(cell, ref)} · {split} · {names}",
            evaluate_stage,
            (cell, ref, conditions, split, compute),
            400.0 * len(conditions),
            tuple(("evaluate", key) for key in items),
        )


def _model_label(cell: Cell, ref: ModelRef) -> str:
    experiment = cell.experiment
    if ref.stage == "defend" or ref.key == cell.keys.retrained:
        return cell_label(experiment)
    if ref.key == cell.keys.outside:
        return "outside · " + cell_label(graph.outside_of(experiment))
    twin = {"attack": None} if ref.key == cell.keys.twin else {}
    return cell_label(experiment.model_copy(update=UNDEFENDED | twin))


def default_tasks(cells: Sequence[Cell], compute: Compute) -> Iterable[Task]:
    """Runs the repairs that are not searched, as given."""
    for cell in cells:
        repair = cell.experiment.repair
        if repair is None or cell.experiment.search:
            continue
        key = graph.defend_key(cell, repair)
        # no start and no floor: the default rule takes the last epoch, whatever was measured
        inputs = DefendInputs(None, keeper(cell.experiment, repair, start_accuracy=0.0, floor=None))
        arguments = (cell, repair, inputs, compute)
        work, label = repair_work(cell.experiment), cell_label(cell.experiment)
        yield Task("defend", key, label, defend_stage, arguments, work, (("defend", key),))
