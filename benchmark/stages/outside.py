"""Who asks for a clean model from outside, and how it is trained."""

from __future__ import annotations

from benchmark.config.spec import Experiment
from benchmark.types import BaseAttack, Detector, Method, Repair

OUTSIDE_SEED = 1000  # added to the seed for a clean model from outside
OUTSIDE_NEEDS = frozenset({"surrogate", "auxiliary_model"})  # what attackers call it, and defenders


def methods_of(experiment: Experiment) -> list[BaseAttack | Repair | Detector]:
    """Its attack and its defense."""
    found = (experiment.attack, experiment.repair, experiment.detector)
    return [method for method in found if method is not None]


def asks_outside(method: Method) -> bool:
    """Whether a method, with its fields, asks for a clean model from outside."""
    return bool(OUTSIDE_NEEDS & method.needs)


def outside_of(experiment: Experiment) -> Experiment:
    """The pre-training of the model from outside: clean pairs, plain contrastive loss, another seed."""
    from benchmark.objectives.mmcl import MMCL

    # one for all who ask: neither objective nor attack of the cell is what an outsider would know
    changes = {"objective": MMCL(), "attack": None, "repair": None, "detector": None, "search": None, "space": {}}
    if experiment.outside:
        changes |= {"model": experiment.outside.model, "pretrain": experiment.outside.pretrain, "outside": None}
    return experiment.model_copy(update=changes | {"seed": experiment.seed + OUTSIDE_SEED})
