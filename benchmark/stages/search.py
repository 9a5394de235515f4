"""A cell's search: one node, whose trials the engine hands out. Its runs stand among the repairs, by content."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from benchmark.evaluation.measure import measures
from benchmark.stages import measuring
from benchmark.stages.cells import Cell
from benchmark.stages.defend import repair_work
from benchmark.stages.evaluate import Evaluate
from benchmark.stages.evaluations import Evaluation, of_search
from benchmark.stages.inputs import outside, to_repair
from benchmark.stages.kept import without_lost
from benchmark.stages.label import cell_label
from benchmark.stages.node import Node, Ref, Rows, Stage, Workplace
from benchmark.stages.trial import SearchCell, describe
from benchmark.store.artifacts import Store


class Search(Stage):
    """Trials of one repair on one model. The engine runs all searches that are open through one Tuner."""

    name = "search"
    title = "search trials"
    paced_by = "defend"
    rank = 4
    place = "search"
    lasting = False

    def nodes(self, cell: Cell, rows: Rows) -> Iterable[Node]:
        """One for a searched cell, and what it compares with on validation."""
        experiment, keys = cell.experiment, cell.keys
        if experiment.search is None or experiment.repair is None:
            return
        compared = [Evaluate().node(cell, item) for item in of_search(cell)]
        yield from compared
        inputs = (
            *to_repair(cell),
            Ref("gate", keys.pretrain),
            *(node.ref for node in compared),
            *outside(cell, experiment.repair),
        )
        work = repair_work(experiment) * (1 + experiment.search.trials)
        yield Node(self, keys.record, cell_label(experiment), inputs, work=work, arguments=(cell,))

    def run(self, nodes: Sequence[Node], at: Workplace) -> Mapping[str, Any]:
        """What the engine opens the search with: `searched`, and `search` with the trials that are in the store."""
        searched = search_cell(at.store, nodes[0].arguments[0])
        search = describe(searched, partial(at.store.facts, "defend"))
        return {"searched": searched, "search": without_lost(at.store, searched, search)}


def search_cell(store: Store, cell: Cell) -> SearchCell:
    """A cell with what its search's rules compare with: validation CA of the start, ASR of the clean twin."""
    target = measuring.target_index(store, cell)

    def measured(item: Evaluation, name: str) -> float:
        aim = target if item.condition.attack else None
        return measuring.value(measures([measuring.outcomes(store, cell, item)], target=aim), name)

    start, *floors = of_search(cell)
    floor = measured(floors[0], "attack_success_rate") if floors else None
    return SearchCell(cell, measured(start, "clean_accuracy"), floor)
