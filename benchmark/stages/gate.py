"""The gate: whether an attack planted. What waits for it is not paid for on a model without a backdoor."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from benchmark.errors import DidNotPlant
from benchmark.evaluation.measure import measures
from benchmark.stages import measuring
from benchmark.stages.cells import Cell
from benchmark.stages.evaluations import of_gate, of_undefended, suspect_of
from benchmark.stages.inputs import poisoned
from benchmark.stages.label import model_label
from benchmark.stages.node import Node, Ref, Rows, Stage, Workplace
from benchmark.store.artifacts import Store


class Gate(Stage):
    """Judges the undefended model by its own outcomes and its clean twin's; one verdict for all its defenses."""

    name = "gate"
    title = "gate"
    place = "driver"
    shown = False
    lasting = False
    of_model = True

    def nodes(self, cell: Cell, rows: Rows) -> Iterable[Node]:
        """One a model, after its evaluations and its twin's; the poison says which class is the target."""
        inputs = (*poisoned(cell), *(Ref("evaluate", item.key(cell)) for item in of_undefended(cell)))
        yield Node(self, cell.keys.pretrain, model_label(cell.experiment), inputs, arguments=(cell,))

    def run(self, nodes: Sequence[Node], at: Workplace) -> Mapping[str, Any]:
        """Passes where there is no attack.

        Raises:
            DidNotPlant: with the reason.
        """
        (cell,) = nodes[0].arguments
        why = judge(at.store, cell)
        if why:
            raise DidNotPlant(why)
        return {}


def judge(store: Store, cell: Cell) -> str:
    """Why a cell's attack did not plant; "" where it did, and where there is none."""
    attack = cell.experiment.attack
    if attack is None:
        return ""
    own = measuring.measure_model(store, cell, suspect_of(cell))
    # poison that costs accuracy gives itself away, so that the gate looks at the clean twin's too
    twins = measures([measuring.outcomes(store, cell, item) for item in of_gate(cell)], target=None)
    return measuring.planted(own, twins, cell.experiment.gate, transform=attack.transform)
