"""The repaired floor: what a repair makes of the clean twin, and what that answers to the trigger. Context only."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from benchmark.stages.cells import Cell, twin_cell
from benchmark.stages.defend import Defend
from benchmark.stages.evaluate import Evaluate
from benchmark.stages.evaluations import ModelRef, of_repaired_twin
from benchmark.stages.finish import record_node
from benchmark.stages.label import cell_label
from benchmark.stages.node import Ended, Node, Rows, Stage, Workplace
from benchmark.stages.trial import epochs_of


class Floor(Stage):
    """Finds the weights of the repaired twin, as `twin`; None where the repair made nothing of it."""

    name = "floor"
    title = "repaired floor"
    place = "driver"
    shown = False
    lasting = False

    def nodes(self, cell: Cell, rows: Rows) -> Iterable[Node]:
        """None before the cell's own repair has succeeded: a floor beside nothing would be paid for nothing."""
        return ()

    def run(self, nodes: Sequence[Node], at: Workplace) -> Mapping[str, Any]:
        """Looks at the last epoch: a repair need not report every one."""
        ((ref, repaired),) = at.ended.items()
        if not repaired.ok or (at.store.facts(*ref) or {}).get("status") != "ok":
            return {"twin": None}
        return {"twin": ModelRef("defend", ref.key, epochs_of(at.store, ref.key)[-1]["epoch"])}

    def then(self, node: Node, ended: Ended) -> Iterable[Node]:
        """Evaluates the repaired twin under the cell's triggers."""
        (cell,) = node.arguments
        twin = ended.facts.get("twin")
        if twin:
            wanted = [Evaluate().node(cell, item) for item in of_repaired_twin(cell, twin)]
            yield from wanted
            yield record_node(cell, *(item.ref for item in wanted))


def floor_nodes(cell: Cell) -> tuple[Node, Node]:
    """The clean twin through the cell's repair at its defaults, and the look at what came out."""
    twin = twin_cell(cell)
    repair = Defend().node(twin)
    return repair, Node(Floor(), cell.keys.record, cell_label(twin.experiment), after=(repair.ref,), arguments=(cell,))
