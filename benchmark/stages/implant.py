"""`pretrain` by other means: an attacker changes the weights of the clean twin."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from benchmark.stages.cells import Cell
from benchmark.stages.inputs import poisoned
from benchmark.stages.label import model_label
from benchmark.stages.node import Node, Ref, Rows, Stage, Workplace
from benchmark.types import ModelAttack


class Implant(Stage):
    """Implants a backdoor; the artifact stands where a pre-trained model would."""

    name = "pretrain"
    title = "implant"
    rank = 2
    of_model = True

    def nodes(self, cell: Cell, rows: Rows) -> Iterable[Node]:
        """One for a cell whose attacker works on a finished model."""
        keys, experiment = cell.keys, cell.experiment
        if keys.poison and isinstance(experiment.attack, ModelAttack):
            inputs = (*poisoned(cell), Ref("pretrain", keys.twin))
            work = 5.0 * experiment.splits.clean
            yield Node(self, keys.pretrain, model_label(experiment), inputs, work=work, arguments=(cell,))

    def run(self, nodes: Sequence[Node], at: Workplace) -> Mapping[str, Any]:
        """Runs the attack on the twin's weights."""
        from benchmark.stages.work.defend import implant_stage

        implant_stage(at.store, nodes[0].arguments[0], at.compute, tick=at.tick)
        return {}
