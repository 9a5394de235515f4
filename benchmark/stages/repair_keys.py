"""Content keys of repairs: one run with given fields, and the search over them. Pure."""

from __future__ import annotations

from typing import Any

from benchmark.config.spec import Experiment
from benchmark.stages.cells import Cell, outside_key
from benchmark.stages.identities import identity
from benchmark.stages.keys import stage_key
from benchmark.types import Repair


def defend_key(cell: Cell, repair: Repair) -> str:
    """Key of one repair run with given fields. The rules that decide which weights are kept are part of it."""
    spec = {
        "repair": identity(repair),
        "seed": cell.experiment.seed,
        "rules": _keep_rules(cell.experiment),
    }
    # the twin stands in the key since its ASR is the floor that the rules subtract when they keep an epoch
    k = cell.keys
    inputs = [k.pretrain, k.data, k.evaluation, k.poison or "", k.twin, *outside_key(k, repair)]
    return stage_key("defend", spec, inputs)


def _keep_rules(experiment: Experiment) -> dict[str, Any]:
    """What decides which epochs' weights a run keeps: nothing for one run at given fields, else the search's rules."""
    # what a rule selects in the end its trial must have kept, so that other rules are other runs; the budget keeps
    # nothing, and stays out
    search = experiment.search
    if search is None:
        return {}
    rules = {"asr_bound", "bound_on", "blind_drop", "collapse"}
    # a trial keeps its own front whole: how much of the joint one is evaluated decides nothing there
    front = {"front": True} if search.front else {}
    return {"search": search.model_dump(mode="json", include=rules, exclude_defaults=True) | front}


def search_key(cell: Cell) -> str:
    """Seeds a search's proposals, beside the results of its finished rounds.

    Objective and attack stay out of it, so that paired cells share their quasi-random points. So does everything that
    `Search` says: a search with a larger budget goes on with the points of a smaller one, and cells that differ in
    their rules look at the same ones.
    """
    experiment = cell.experiment
    # paired cells then differ in what the repair met, not in the luck of where it looked
    assert experiment.repair is not None and experiment.search is not None
    spec = {
        "repair": identity(experiment.repair),
        "search": {},  # stays, empty, so that searches of before go on with their points
        "space": {name: list(value) for name, value in sorted(experiment.space.items())},
        "seed": experiment.seed,
    }
    return stage_key("defend", spec, [cell.keys.data, cell.keys.evaluation])
