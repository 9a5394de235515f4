"""`rebound`: a model is fine-tuned on clean pairs, as its user would do it, and measured along the way."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from benchmark.stages.cells import Cell, twin_cell
from benchmark.stages.evaluations import ModelRef
from benchmark.stages.label import cell_label, model_label
from benchmark.stages.node import Node, Rows, Stage, Workplace
from benchmark.stages.rebounds import Trajectory, rebound_key
from benchmark.store.keys import digest


class Rebound(Stage):
    """One trajectory of one model: a repaired one, or a control, which all repairs of that model share."""

    name = "rebound"
    title = "rebound"
    paced_by = "rebound"
    rank = 5  # what records need goes first
    finished = True

    def nodes(self, cell: Cell, rows: Rows) -> Iterable[Node]:
        """None before a repair has weights: `repaired` asks for them."""
        return ()

    def node(self, cell: Cell, model: ModelRef, trajectory: Trajectory) -> Node:
        """A model's trajectory, judged by a cell's trigger."""
        experiment = cell.experiment
        attack = experiment.attack
        # attacks with one target leave the same pairs out, so that one fine-tuning of their clean twin serves them all
        pairs = attack.target_name if attack and attack.target_name else cell.keys.poison
        same = [*model, pairs, experiment.seed, trajectory.model_dump(mode="json")]
        return Node(
            self,
            rebound_key(cell, model, trajectory),
            f"rebound of {_label(cell, model)} · {trajectory.scope} at {trajectory.learning_rate:g}",
            work=trajectory_work(cell, trajectory),
            arguments=(cell, model, trajectory),
            batch=digest(repr(same)),
        )

    def run(self, nodes: Sequence[Node], at: Workplace) -> Mapping[str, Any]:
        """Fine-tunes once, whatever the number of triggers."""
        from benchmark.stages.work.rebound import rebound_stage

        _, model, trajectory = nodes[0].arguments
        rebound_stage(at.store, [node.arguments[0] for node in nodes], model, trajectory, at.compute, tick=at.tick)
        return {}


def trajectory_work(cell: Cell, trajectory: Trajectory) -> float:
    """Forward views of images: one of each pair, and a third of one of each test image, clean and triggered."""
    looks = len(trajectory.steps) * 2 * cell.experiment.splits.test / 3
    return trajectory.steps[-1] * trajectory.batch_size + looks


def _label(cell: Cell, model: ModelRef) -> str:
    if model.stage == "defend":
        return f"{cell_label(cell.experiment)} · epoch {model.epoch}"
    twin = model.key == cell.keys.twin
    return model_label((twin_cell(cell) if twin else cell).experiment)
