"""`detect`: a detector's scores."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from benchmark.config.spec import Experiment
from benchmark.stages.cells import Cell
from benchmark.stages.inputs import outside, suspect
from benchmark.stages.label import cell_label
from benchmark.stages.node import Node, Ref, Rows, Stage, Workplace


class Detect(Stage):
    """Scores the pairs, the inputs or the model, where the attack planted."""

    name = "detect"
    title = "detect"
    paced_by = "defend"
    rank = 3

    def nodes(self, cell: Cell, rows: Rows) -> Iterable[Node]:
        """One for a cell with a detector."""
        keys, detector = cell.keys, cell.experiment.detector
        if detector is None or keys.detect is None:
            return
        inputs = (*suspect(cell), Ref("gate", keys.pretrain), *outside(cell, detector))
        work, label = _work(cell.experiment, rows(cell)), cell_label(cell.experiment)
        yield Node(self, keys.detect, label, inputs, work=work, arguments=(cell,))

    def run(self, nodes: Sequence[Node], at: Workplace) -> Mapping[str, Any]:
        """Runs the detector on the suspect model."""
        from benchmark.stages.work.detect import detect_stage

        detect_stage(at.store, nodes[0].arguments[0], at.compute, tick=at.tick)
        return {}


def _work(experiment: Experiment, pairs: int) -> float:
    """Forward views of images, roughly: one pass over what is scored."""
    detector, splits = experiment.detector, experiment.splits
    units = {"pair": float(pairs), "input": float(splits.validation + 2 * splits.test)}
    return units.get(detector.unit, float(10 * splits.clean)) if detector else 0.0
