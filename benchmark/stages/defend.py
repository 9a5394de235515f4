"""`defend`: a repair, run once with the fields as given. The trials of a search write there too."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from benchmark.config.spec import Experiment
from benchmark.stages.cells import Cell
from benchmark.stages.inputs import outside, to_repair
from benchmark.stages.keys import defend_key
from benchmark.stages.label import cell_label
from benchmark.stages.node import Node, Ref, Rows, Stage, Workplace
from benchmark.stages.trial import keeper


class Defend(Stage):
    """Repairs a model whose attack planted."""

    name = "defend"
    title = "repair at defaults"
    paced_by = "defend"
    rank = 4

    def nodes(self, cell: Cell, rows: Rows) -> Iterable[Node]:
        """One for a repair that is not searched."""
        if cell.experiment.repair and not cell.experiment.search:
            yield self.node(cell, Ref("gate", cell.keys.pretrain))

    def node(self, cell: Cell, *after: Ref) -> Node:
        """The cell's repair at its defaults, once what it reads and these are there."""
        repair = cell.experiment.repair
        assert repair is not None
        label, work = cell_label(cell.experiment), repair_work(cell.experiment)
        key = defend_key(cell, repair)
        return Node(self, key, label, (*to_repair(cell), *after, *outside(cell, repair)), work=work, arguments=(cell,))

    def run(self, nodes: Sequence[Node], at: Workplace) -> Mapping[str, Any]:
        """Runs the repair; a result that is no number is a result of the repair, and kept."""
        from benchmark.stages.work.defend import DefendInputs, defend_stage

        (cell,) = nodes[0].arguments
        repair = cell.experiment.repair
        # no start and no floor: the default rule takes the last epoch, whatever was measured
        inputs = DefendInputs(None, keeper(cell.experiment, repair, start_accuracy=0.0, floor=None))
        return defend_stage(at.store, cell, repair, inputs, at.compute, tick=at.tick)


def repair_work(experiment: Experiment) -> float:
    """Forward views of images of one repair run, roughly: validation after each epoch costs a third of a view."""
    repair = experiment.repair
    augmented = "text augmentation (EDA)" in repair.card.external if repair else False
    pairs = (repair and repair.num_clean_pairs) or experiment.splits.clean
    views = (2 if augmented else 1) * pairs + 0.6 * experiment.splits.validation
    return float(getattr(repair, "epochs", 1) * views)
