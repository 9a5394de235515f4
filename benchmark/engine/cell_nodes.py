"""The nodes that cells need, and the row counts that their work is reckoned by."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from benchmark.stages.cells import Cell, trained_split
from benchmark.stages.node import Node, Rows, Stage
from benchmark.store.artifacts import Store


def nodes_of(cells: Iterable[Cell], stages: Sequence[Stage], rows: Rows) -> Iterator[tuple[Cell, Node]]:
    """What cells need of stages, each node with a cell that needs it; what all defenses of a model share comes once."""
    seen: set[tuple[str | None, ...]] = set()
    for cell in cells:
        keys = cell.keys
        model = (keys.pretrain, keys.poison, keys.evaluation, keys.outside, keys.retrained)
        for stage in stages:
            if not (stage.of_model and model in seen):
                yield from ((cell, node) for node in stage.nodes(cell, rows))
        seen.add(model)


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
