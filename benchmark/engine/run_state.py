"""How far the cells of a run have got: what failed and why, which attacks did not plant, what can go on."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from benchmark.config.spec import Gate
from benchmark.engine.task import TaskResult
from benchmark.stages import measuring
from benchmark.stages.conditions import ConditionSpec, evaluate_key, outside_condition, own_conditions
from benchmark.stages.graph import Cell
from benchmark.store.artifacts import Store


@dataclass
class RunState:
    """The run's memory beside the store; everything in it is found again by running again."""

    store: Store
    gate: Gate
    failures: dict[str, TaskResult] = field(default_factory=dict)  # key of the artifact that is not there -> why
    unplanted: dict[str, str] = field(default_factory=dict)  # key of the attacked model -> why

    def blocked(self, cell: Cell) -> TaskResult | None:
        """Why a cell cannot go on: the first of its inputs that could not be made."""
        if not self.failures:  # asked for each cell at each stage, and hashing its evaluations is not free
            return None
        keys = cell.keys
        made = (keys.data, keys.evaluation, keys.outside_data, keys.outside, keys.poison, keys.twin, keys.pretrain)
        # in the order of the stages, so that the reason is the first cause and not what followed from it
        inputs = [key for key in (*made, *own_evaluations(cell)) if key]
        return next((self.failures[key] for key in inputs if key in self.failures), None)

    def defensible(self, cell: Cell) -> bool:
        """Whether a cell has a repair or a detector, and a model that is worth it."""
        defended = cell.experiment.repair or cell.experiment.detector
        return bool(defended) and not self.blocked(cell) and cell.keys.pretrain not in self.unplanted

    def judge(self, cell: Cell) -> str:
        """Why a cell's attack did not plant; "" where it did, where there is none, or where that is not known."""
        if cell.experiment.attack is None or self.blocked(cell):
            return ""
        # poison that costs accuracy gives itself away, so that the gate looks at the clean twin's too
        clean = ConditionSpec(None, None, None)
        own = measuring.measure_model(self.store, cell, model=cell.keys.pretrain, epoch=None, split="test")
        twin = measuring.outcomes(self.store, cell, clean, model=cell.keys.twin, epoch=None, split="test")
        twins = measuring.measures([twin], target=None)
        return measuring.planted(own, twins, self.gate, transform=cell.experiment.attack.transform)

    def facts(self, stage: str, key: str) -> dict[str, Any] | None:
        """Facts of an artifact, None where it is not there."""
        return self.store.facts(stage, key)


def own_evaluations(cell: Cell) -> list[str]:
    """Keys of the outcomes on test of the undefended model, and of a model from outside."""
    models = [(cell.keys.pretrain, item) for item in own_conditions(cell)]
    models += [(cell.keys.outside, outside_condition())] if cell.keys.outside else []
    return [evaluate_key(cell, item, split="test", model=model, epoch=None) for model, item in models]
