"""`data`: the prepared pairs of a cell, of the set that judges it where that is another, of a model from outside."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from benchmark.data.skipped import told
from benchmark.stages.cells import Cell, trained_split
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


def row_counter(store: Store) -> Rows:
    """Counts the pre-training pairs of cells: from the prepared set, else as the suite or the data set says."""
    known: dict[str, int] = {}

    def rows(cell: Cell) -> int:
        if cell.keys.data not in known:  # thousands of cells share a set
            known[cell.keys.data] = _num_rows(store, cell)
        return known[cell.keys.data]

    return rows


def _num_rows(store: Store, cell: Cell) -> int:
    # before the data is prepared nobody knows how many rows will be broken or empty
    facts, split = store.facts("data", cell.keys.data), trained_split(cell)
    if facts:
        return int(facts["splits"][split])
    experiment = cell.experiment
    reserved = experiment.splits.outside if split == "outside" else 0
    return reserved or experiment.splits.pretrain or int(getattr(experiment.data, "num_rows", 10_000))
