"""The gate: whether an attack planted. What waits for it is not paid for on a model without a backdoor."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from benchmark.errors import DidNotPlant
from benchmark.stages import measuring
from benchmark.stages.cells import Cell
from benchmark.stages.conditions import evaluate_key, own_conditions, triggered_conditions
from benchmark.stages.evaluate import CLEAN
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
        """One a model, after its evaluations and its twin's."""
        keys = cell.keys
        wanted = [(keys.pretrain, item) for item in own_conditions(cell)]
        if cell.experiment.attack:
            wanted += [(keys.twin, item) for item in (CLEAN, *triggered_conditions(cell))]
        inputs = tuple(
            Ref("evaluate", evaluate_key(cell, item, split="test", model=key, epoch=None)) for key, item in wanted
        )
        yield Node(self, keys.pretrain, model_label(cell.experiment), inputs, arguments=(cell,))

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
    # poison that costs accuracy gives itself away, so that the gate looks at the clean twin's too
    own = measuring.measure_model(store, cell, model=cell.keys.pretrain, epoch=None, split="test")
    twin = measuring.outcomes(store, cell, CLEAN, model=cell.keys.twin, epoch=None, split="test")
    twins = measuring.measures([twin], target=None)
    return measuring.planted(own, twins, cell.experiment.gate, transform=attack.transform)
