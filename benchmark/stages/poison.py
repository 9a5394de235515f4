"""`poison`: which pairs an attack replaces, and its trigger."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from benchmark.stages.cells import Cell
from benchmark.stages.inputs import outside, prepared
from benchmark.stages.label import poison_label
from benchmark.stages.node import Node, Rows, Stage, Workplace


class Poison(Stage):
    """Fits an attack's trigger, then chooses its rows and captions."""

    name = "poison"
    title = "poison"
    of_model = True

    def nodes(self, cell: Cell, rows: Rows) -> Iterable[Node]:
        """One for an attacked cell; an attacker with a model of its own waits for that."""
        keys, attack = cell.keys, cell.experiment.attack
        if attack is None or keys.poison is None:
            return
        label = poison_label(cell.experiment)
        yield Node(self, keys.poison, label, (*prepared(cell), *outside(cell, attack)), arguments=(cell,))

    def run(self, nodes: Sequence[Node], at: Workplace) -> Mapping[str, Any]:
        """Writes a manifest and the trigger's tensors; the pairs themselves stay as they are."""
        from benchmark.stages.work.prepare import poison_stage

        poison_stage(at.store, nodes[0].arguments[0], tick=at.tick)
        return {}
