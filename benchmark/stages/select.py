"""The choice of a cell, and what follows from it: evaluations on test, the repaired floor, the record."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from benchmark.config.spec import Experiment
from benchmark.stages.cells import Cell
from benchmark.stages.evaluate import Evaluate
from benchmark.stages.evaluations import of_model
from benchmark.stages.finish import record_node
from benchmark.stages.floor import floor_nodes
from benchmark.stages.label import cell_label
from benchmark.stages.node import Ended, Node, Rows, Stage, Workplace
from benchmark.stages.selection import CellResult, choose, inputs_of


class Select(Stage):
    """Chooses on validation alone: nothing has looked at a repaired model on test until the choice stands."""

    name = "select"
    title = "select"
    place = "driver"
    shown = False
    lasting = False
    counts_for = "evaluate"

    def nodes(self, cell: Cell, rows: Rows) -> Iterable[Node]:
        """One a cell, when all that it may choose from has ended."""
        after, experiment = list(inputs_of(cell)), cell.experiment
        defended = experiment.repair or experiment.detector
        work = _expected_work(experiment) if defended else 0.0
        yield Node(self, cell.keys.record, cell_label(experiment), after=tuple(after), work=work, arguments=(cell,))

    def run(self, nodes: Sequence[Node], at: Workplace) -> Mapping[str, Any]:
        """The choices, as `result`."""
        (cell,) = nodes[0].arguments
        return {"result": choose(at.store, cell, at.ended)}

    def then(self, node: Node, ended: Ended) -> Iterable[Node]:
        """Evaluates the chosen weights on test, and the clean twin after the same repair; the record waits for both."""
        (cell,) = node.arguments
        if not ended.ok:
            return
        wanted: list[Node] = []
        result: CellResult = ended.facts["result"]
        for choice in (*result.choices, *result.front):
            if choice.model and choice.selection != "undefended":
                wanted += [Evaluate().node(cell, item) for item in of_model(cell, choice.model)]
            # what the repair at its defaults makes of the twin; other rules have other hyper-parameters
            if choice.status == "ok" and choice.selection == "default" and choice.repair and cell.experiment.attack:
                wanted += floor_nodes(cell)
        yield from wanted
        yield record_node(cell, *(item.ref for item in wanted))


def _expected_work(experiment: Experiment) -> float:
    """Forward views of images of the evaluations that a choice asks for, roughly."""
    splits, conditions = experiment.splits, 2 if experiment.attack else 1
    # of a front that may be full, about the half is found
    rules = 3 + experiment.search.front // 2 if experiment.search else 1
    return rules * conditions * splits.test / 3
