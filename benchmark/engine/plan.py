"""What a suite still needs: nodes found and missing, time from past records or a probe, disk. No torch, no Ray."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain, islice
from typing import Any, NamedTuple

from benchmark.engine.graph import late_nodes, nodes_of
from benchmark.engine.standing import made_of, unfinished
from benchmark.engine.storage import Storage, storage
from benchmark.stages.cells import Cell
from benchmark.stages.every import STAGES
from benchmark.stages.node import Node, Ref, Rows, Stage
from benchmark.stages.prepare import row_counter
from benchmark.stages.trial import SearchCell, describe
from benchmark.store.artifacts import Store

PAST = 20  # artifacts of a stage whose times are looked at

Paces = Mapping[str, float]  # forward views per second, by model


class StagePlan(NamedTuple):
    """One stage of a plan."""

    stage: str
    title: str
    total: int
    found: int
    work: float  # forward views of images that are still to be computed
    seconds: float | None  # estimate on one slot; None: no past record to go by


class Plan(NamedTuple):
    """What a run would do."""

    stages: list[StagePlan]
    cells_left: int  # without a final record
    storage: Storage  # that it will add, roughly

    @property
    def seconds(self) -> float | None:
        """On one slot; None where any stage is not known."""
        known = [stage.seconds for stage in self.stages if stage.seconds is not None]
        return sum(known) if len(known) == len(self.stages) else None


class _Want(NamedTuple):
    """A node, one cell that needs it, and whether it must be made."""

    node: Node
    cell: Cell
    missing: bool
    trials: int = 0  # of a search: those that the store has, the defaults among them

    @property
    def size(self) -> int:
        """How many things it is in the table: a search counts as its trials."""
        search = self.cell.experiment.search
        return search.trials if self.node.stage.name == "search" and search else 1

    @property
    def left(self) -> int:
        """How many of these are still to be made."""
        return self.size - max(self.trials - 1, 0) if self.missing else 0

    @property
    def work(self) -> float:
        """What is still to be computed of it."""
        return self.node.work * (1 - self.trials / (1 + self.size))


_Wants = Mapping[str, list[_Want]]  # by stage


def plan(
    store: Store,
    cells: Sequence[Cell],
    probe: Callable[[], Paces] = dict,
    *,
    stages: Sequence[Stage] = STAGES,
    views_per_s: float = 0.0,
) -> Plan:
    """Counts the nodes of a run that are there and those that are missing, stage by stage.

    Args:
        store: where artifacts are looked for.
        cells: the cells that are asked for.
        probe: finds the paces of models; asked once, where the store has no past record. A model that it leaves out is
            not known.
        stages: those of the run, in order.
    """
    store = store.snapshot()
    rows, left = row_counter(store), unfinished(store, cells)
    wants, costly = defaultdict[str, list[_Want]](list), defaultdict[str, list[_Want]](list)
    for want in _wanted(store, cells, left, stages, rows):
        stage = want.node.stage
        wants[stage.name].append(want)
        if want.missing:  # a choice knows what its evaluations will cost before they are nodes
            costly[stage.counts_for or stage.name].append(want)
    rates = {name: views_per_s or _rate(store, wants[name]) for name in {stage.paced_by for stage in stages}}
    needs_pace = not any(rates.values()) and any(want.node.work for own in costly.values() for want in own)
    paces = probe() if needs_pace else {}
    planned = []
    shown = {
        stage.name: stage for stage in reversed(stages) if stage.shown
    }  # by its first stage: implants pre-train too
    for name, stage in reversed(shown.items()):
        total, missing = sum(want.size for want in wants[name]), sum(want.left for want in wants[name])
        # all run the same towers, so that another's pace is a better guess than none
        cost = _cost(costly[name], rates[stage.paced_by] or max(rates.values()), paces)
        planned.append(StagePlan(name, stage.title, total, total - missing, *cost))
    missing = [(want.node, want.cell, want.left) for own in wants.values() for want in own if want.missing]
    return Plan(planned, len(left), storage(missing, rows))


def _wanted(
    store: Store, cells: Sequence[Cell], left: Sequence[Cell], stages: Sequence[Stage], rows: Rows
) -> list[_Want]:
    """The nodes of all cells, united by name."""
    waiting = {cell.keys.record for cell in left}
    done = [cell for cell in cells if cell.keys.record not in waiting]
    needed: dict[Ref, tuple[Node, Cell]] = {}
    for cell, node in chain(nodes_of(left, stages, rows), late_nodes(cells, left, stages, rows)):
        later = node.stage.ahead(node, store)
        for item in (node,) if later is None else later:
            needed.setdefault(item.ref, (item, cell))
    made = made_of(store, (ref for ref, (node, _) in needed.items() if node.stage.lasting))
    searches = any(ref.stage == "search" for ref in needed)
    trials = store.facts_of("defend", store.keys("defend")) if searches else {}
    found = [_Want(node, cell, ref not in made, _trials(ref, cell, trials)) for ref, (node, cell) in needed.items()]
    # what only finished cells are made of need not be there any more; of it the stages of the table are enough
    for cell, node in nodes_of(done, [stage for stage in stages if stage.shown], rows):
        if node.ref not in needed:
            needed[node.ref] = node, cell
            found.append(_Want(node, cell, False))
    return found


def _trials(ref: Ref, cell: Cell, repairs: Mapping[str, Mapping[str, Any]]) -> int:
    """Trials of a search that a run would find among the repairs: it was stopped, or it is extended."""
    if ref.stage != "search" or not repairs:
        return 0
    return len(describe(SearchCell(cell, 0.0, None), repairs.get).finished)


def _cost(wants: Sequence[_Want], rate: float, paces: Paces) -> tuple[float, float | None]:
    """Work, and seconds on one slot."""
    amounts = [(want.work, rate or paces.get(want.cell.experiment.model.name, 0.0)) for want in wants]
    work = sum(amount for amount, _ in amounts)
    # a sum without its unknown part would read as a promise
    if not all(pace for amount, pace in amounts if amount):
        return work, None
    return work, sum(amount / pace for amount, pace in amounts if amount)


def _rate(store: Store, wants: Iterable[_Want]) -> float:
    """Forward views per second of what this store has seen of a stage; 0 where it has seen nothing."""
    nodes = {want.node.key: want.node for want in islice((want for want in wants if not want.missing), PAST)}
    stages = {node.stage.name for node in nodes.values()}
    found = {key: facts for stage in stages for key, facts in store.facts_of(stage, nodes).items()}
    past = [(nodes[key].work, facts["wall_s"]) for key, facts in found.items() if "wall_s" in facts]
    seconds = sum(spent for _, spent in past)
    return sum(work for work, _ in past) / seconds if seconds else 0.0
