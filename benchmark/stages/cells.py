"""A cell of a suite: an experiment, the content keys of what it is made of, and the cells that stand beside it."""

from __future__ import annotations

from typing import Literal, NamedTuple

from benchmark.config.spec import Experiment
from benchmark.stages.outside import outside_of


class Keys(NamedTuple):
    """Content keys of one cell."""

    data: str
    evaluation: str
    poison: str | None
    pretrain: str  # the suspect model: pre-trained on the poisoned pairs, or with a backdoor implanted
    twin: str  # the same pre-training without poison
    record: str
    outside: str | None = None  # a clean model from outside, where the attack or the defense asks for one
    outside_data: str | None = None  # the pairs that it is trained on, and no other model
    detect: str | None = None  # a detector's scores
    retrained: str | None = None  # the model that is pre-trained again on what a filter leaves


class Cell(NamedTuple):
    """An experiment and its keys."""

    experiment: Experiment
    keys: Keys


def trained_split(cell: Cell) -> Literal["pretrain", "outside"]:
    """Which split of its data a cell's model is trained on."""
    return "outside" if cell.keys.data == cell.keys.outside_data else "pretrain"


def outside_cell(cell: Cell) -> Cell:
    """The pre-training of the model from outside, as a cell on pairs of its own."""
    own, pairs = cell.keys.outside or "", cell.keys.outside_data or ""
    keys = cell.keys._replace(
        data=pairs, poison=None, pretrain=own, twin=own, outside=None, detect=None, retrained=None
    )
    return Cell(outside_of(cell.experiment), keys)


def twin_cell(cell: Cell) -> Cell:
    """The clean twin of an attacked cell through the same repair at its defaults, as a cell without a record."""
    experiment = cell.experiment.model_copy(update={"attack": None, "search": None, "space": {}})
    # without poison, what the repaired twin answers to the trigger is the repair's own doing: its floor
    return Cell(experiment, cell.keys._replace(pretrain=cell.keys.twin, poison=None))


def retrained_cell(cell: Cell) -> Cell:
    """A filtered cell whose model is the one that was trained again."""
    return cell._replace(keys=cell.keys._replace(pretrain=cell.keys.retrained or ""))
