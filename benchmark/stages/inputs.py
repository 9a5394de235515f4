"""What the work on a cell reads, as inputs of nodes: all of it, since some may be gone whose successors are not."""

from __future__ import annotations

from benchmark.stages.cells import Cell
from benchmark.stages.node import Ref
from benchmark.stages.outside import asks_outside
from benchmark.types import Method, ModelAttack


def prepared(cell: Cell) -> tuple[Ref, ...]:
    """The pairs and the set that judges them."""
    return tuple(dict.fromkeys((Ref("data", cell.keys.data), Ref("data", cell.keys.evaluation))))


def poisoned(cell: Cell) -> tuple[Ref, ...]:
    """With the poison, where there is one."""
    return (*prepared(cell), Ref("poison", cell.keys.poison)) if cell.keys.poison else prepared(cell)


def suspect(cell: Cell) -> tuple[Ref, ...]:
    """With the suspect model; one that was implanted is kept as what differs from the clean twin."""
    base = (Ref("pretrain", cell.keys.twin),) if isinstance(cell.experiment.attack, ModelAttack) else ()
    return (*poisoned(cell), *base, Ref("pretrain", cell.keys.pretrain))


def to_repair(cell: Cell) -> tuple[Ref, ...]:
    """With the clean twin too: what a repair gives back must not be the twin's weights."""
    return tuple(dict.fromkeys((*suspect(cell), Ref("pretrain", cell.keys.twin))))


def outside(cell: Cell, method: Method) -> tuple[Ref, ...]:
    """The model from outside, where the method asks for it."""
    return (Ref("pretrain", cell.keys.outside),) if cell.keys.outside and asks_outside(method) else ()
