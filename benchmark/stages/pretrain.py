"""`pretrain`: models from scratch – suspects, their clean twins, those from outside, and those trained again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from benchmark.stages.cells import Cell, outside_cell, retrained_cell, twin_cell
from benchmark.stages.inputs import poisoned, prepared
from benchmark.stages.label import cell_label, model_label
from benchmark.stages.node import Node, Ref, Rows, Stage, Workplace
from benchmark.types import ModelAttack


class Pretrain(Stage):
    """Pre-trains a model; continues from its last checkpoint."""

    name = "pretrain"
    title = "pre-train"
    rank = 2
    of_model = True

    def nodes(self, cell: Cell, rows: Rows) -> Iterable[Node]:
        """The clean twin, and as far as there are such: the poisoned model, one from outside, one after a filter."""
        keys = cell.keys
        if keys.outside:
            outside = outside_cell(cell)
            label = "outside · " + model_label(outside.experiment)
            yield self._node(outside, rows, label, *prepared(outside))
        twin = twin_cell(cell)  # without it there is neither floor nor gate
        yield self._node(twin, rows, model_label(twin.experiment), *prepared(cell))
        if keys.poison and not isinstance(cell.experiment.attack, ModelAttack):
            yield self._node(cell, rows, model_label(cell.experiment), *poisoned(cell))
        if keys.retrained and keys.detect:
            again = retrained_cell(cell)  # belongs to its filter; every other model to all cells that share it
            label = "again · " + cell_label(cell.experiment)
            waits = (Ref("gate", keys.pretrain), Ref("detect", keys.detect))
            yield self._node(again, rows, label, *poisoned(cell), *waits)

    def _node(self, cell: Cell, rows: Rows, label: str, *inputs: Ref) -> Node:
        experiment = cell.experiment
        views = len({"image", "image_augmented"} & experiment.objective.views)
        work = float(experiment.pretrain.epochs_run * rows(cell) * views)
        return Node(self, cell.keys.pretrain, label, inputs, work=work, arguments=(cell,))

    def run(self, nodes: Sequence[Node], at: Workplace) -> Mapping[str, Any]:
        """Trains in this process."""
        from benchmark.stages.work.pretrain import pretrain_stage

        pretrain_stage(at.store, nodes[0].arguments[0], at.compute, tick=at.tick)
        return {}
