"""`data`: the prepared pairs of a cell, of the set that judges it where that is another, of a model from outside."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from benchmark.data.skipped import told
from benchmark.stages.cells import Cell
from benchmark.stages.node import Node, Rows, Stage, Workplace
from benchmark.stages.record import skipped_rows
from benchmark.store.artifacts import Store


class Prepare(Stage):
    """Decodes and splits a data set, once for all cells that share it."""

    name = "data"
    title = "data"
    of_model = True

    def nodes(self, cell: Cell, rows: Rows) -> Iterable[Node]:
        """Up to three."""
        experiment, keys = cell.experiment, cell.keys
        yield Node(self, keys.data, experiment.data.label, arguments=(cell, "data"))
        if experiment.evaluation:
            yield Node(self, keys.evaluation, experiment.evaluation.label, arguments=(cell, "evaluation"))
        if keys.outside_data:
            yield Node(self, keys.outside_data, f"outside · {experiment.data.label}", arguments=(cell, "outside"))

    def run(self, nodes: Sequence[Node], at: Workplace) -> Mapping[str, Any]:
        """Reads the set's files."""
        from benchmark.stages.work.prepare import outside_stage, prepare_stage

        cell, part = nodes[0].arguments
        if part == "outside":
            outside_stage(at.store, cell, tick=at.tick)
        else:
            prepare_stage(at.store, cell, part == "evaluation", tick=at.tick)
        return {}

    def notes(self, node: Node, store: Store) -> Iterable[str]:
        """Which rows the set was prepared without."""
        return [told(item) for item in skipped_rows(store, node.arguments[0])]
