"""How much disk a run will take, roughly: decoded images, models with their optimiser state, weights of repairs."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

from benchmark.config.spec import Experiment, Search
from benchmark.data.splits import is_streamed
from benchmark.models.architectures import image_size, num_parameters
from benchmark.stages.cells import Cell, outside_cell
from benchmark.stages.node import Node, Rows

WEIGHT = 4  # bytes of a float32
MODEL = 3 * WEIGHT  # a weight, and AdamW's two moments of it
RULES = 3  # of a search: each keeps one epoch
OWN_FRONT = 2  # epochs that a trial keeps for the front of its own beside these, of twenty


class Storage(NamedTuple):
    """Bytes that a run will add, by what they are."""

    images: int = 0  # decoded ones; what is streamed is not kept
    models: int = 0  # pre-trained
    repairs: int = 0  # one epoch of each repair at its defaults
    trials: int = 0  # epochs that trials keep for the rules and the front
    chosen: int = 0  # most of these that records stand on in the end: what `store gc --trials` leaves

    @property
    def total(self) -> int:
        """All of it."""
        return sum(self) - self.chosen


def storage(missing: Iterable[tuple[Node, Cell, int]], rows: Rows) -> Storage:
    """Adds up what is to be made.

    Args:
        missing: nodes that are to be made, each with a cell that needs it; of a search, with the trials that are left.
        rows: counts pre-training pairs.
    """
    found = dict.fromkeys(Storage._fields, 0)
    for node, cell, left in missing:
        name, experiment = node.stage.name, cell.experiment
        weights = WEIGHT * num_parameters(experiment.model.name)
        if name == "data":
            found["images"] += _images(node, cell, rows)
        elif name == "pretrain":
            found["models"] += MODEL // WEIGHT * weights
        elif name == "defend":
            found["repairs"] += weights
        elif name == "search":
            trials = kept(experiment, left)
            found["trials"] += round(trials * weights)
            found["chosen"] += round(min(trials, most_chosen(experiment.search, trials)) * weights)
    return Storage(**found)


def kept(experiment: Experiment, trials: int) -> float:
    """Epochs whose weights that many trials of a search keep, roughly."""
    search = experiment.search
    if search is None or not trials:
        return 0.0
    if search.front_strips:
        # a place is taken by each trial that beats all before it: in any order that is a logarithm of their number,
        # of which half is seen, since few trials reach every strip
        return (search.front_strips + RULES) * (1 + math.log1p(trials) / 2)
    epochs = getattr(experiment.repair, "epochs", 1)
    return trials * min(epochs, RULES + (OWN_FRONT if search.front else 0))


def most_chosen(search: Search | None, trials: float) -> float:
    """Epochs that a cell's choice is made of at most; where no strips bound it, all that its trials keep."""
    return RULES + min(search.front, search.front_strips) if search and search.front_strips else trials


def _images(node: Node, cell: Cell, rows: Rows) -> int:
    (own, part), experiment = node.arguments, cell.experiment
    splits, side = experiment.splits, image_size(experiment.model.name)
    trained = 0 if is_streamed(experiment.data) else rows(outside_cell(own) if part == "outside" else own)
    if part == "outside":
        count = trained
    elif part == "data":
        count = splits.clean + splits.validation + splits.test + trained
    else:
        assert experiment.evaluation is not None  # `prepare_data` leaves out the clean rows of one that is not streamed
        count = (splits.clean if is_streamed(experiment.evaluation) else 0) + splits.validation + splits.test
    return count * side**2 * 3
