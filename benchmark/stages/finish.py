"""`record`: the immutable rows of a cell, written the moment that what they are made of is there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from benchmark.stages.cells import Cell
from benchmark.stages.evaluations import Evaluation, of_model, of_repaired_twin
from benchmark.stages.label import cell_label
from benchmark.stages.node import Ended, Node, Ref, Rows, Stage, Workplace
from benchmark.stages.record import write_record
from benchmark.stages.selection import CellResult, Selected

Outcomes = Mapping[Ref, Ended]


class Record(Stage):
    """Writes what a cell came to, also where that is a failure."""

    name = "record"
    title = "records"
    place = "driver"
    lasting = False  # one that is not final is written again

    def nodes(self, cell: Cell, rows: Rows) -> Iterable[Node]:
        """One a cell; the choice adds what it waits for."""
        yield record_node(cell, Ref("select", cell.keys.record))

    def run(self, nodes: Sequence[Node], at: Workplace) -> Mapping[str, Any]:
        """Measures stored outcomes; no model is needed. Tells the `statuses` by rule."""
        (cell,) = nodes[0].arguments
        there = at.store.facts("record", cell.keys.record)
        if there and there["final"]:  # another run on this store has just written it
            return {"statuses": there["statuses"]}
        chosen = at.ended[Ref("select", cell.keys.record)]
        result = CellResult([Selected(_rule(cell), chosen.status, chosen.reason)])
        if chosen.ok:
            result = chosen.facts["result"]
        choices, front = ([checked(cell, item, at.ended) for item in part] for part in (result.choices, result.front))
        environment = at.environment()
        write_record(at.store, cell, at.suite, choices, environment=environment, trials=result.trials, front=front)
        return {"statuses": {choice.selection: choice.status for choice in choices}}


def record_node(cell: Cell, *after: Ref) -> Node:
    """The record of a cell, after these."""
    return Node(Record(), cell.keys.record, cell_label(cell.experiment), after=after, arguments=(cell,))


def _rule(cell: Cell) -> Any:
    return "default" if cell.experiment.repair or cell.experiment.detector else "undefended"


def checked(cell: Cell, choice: Selected, ended: Outcomes) -> Selected:
    """A choice whose evaluation failed carries that failure; one whose twin could be evaluated, the twin."""
    if choice.model is None or choice.selection == "undefended":  # its evaluations are behind the gate
        return choice
    failed = _failure(cell, of_model(cell, choice.model), ended)
    if failed:
        return choice._replace(status=failed.status, reason=failed.reason)
    floor = ended.get(Ref("floor", cell.keys.record))
    twin = floor.facts.get("twin") if floor and choice.selection == "default" else None
    # the repaired floor is context: a repair's own numbers do not hang on it
    if twin and not _failure(cell, of_repaired_twin(cell, twin), ended):
        return choice._replace(repaired_twin=twin)
    return choice


def _failure(cell: Cell, wanted: Sequence[Evaluation], ended: Outcomes) -> Ended | None:
    """The first evaluation that failed."""
    found = (ended.get(Ref("evaluate", item.key(cell))) for item in wanted)
    return next((item for item in found if item and not item.ok), None)
