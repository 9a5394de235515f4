"""Short names of models and cells, as progress prints them."""

from __future__ import annotations

from benchmark.config.spec import Experiment

# A model is shared by all its defenses, so that its label names none of them.
UNDEFENDED = {"repair": None, "detector": None}


def cell_label(experiment: Experiment) -> str:
    """Short name of a cell: objective · attack · defense · seed."""
    attack = experiment.attack.name if experiment.attack else "clean"
    defense = experiment.repair or experiment.detector
    repair = f" · {defense.name}" if defense else ""
    return f"{experiment.objective.name} · {attack}{repair}{_seed(experiment)}"


def model_label(experiment: Experiment) -> str:
    """Short name of a cell's undefended model."""
    return cell_label(experiment.model_copy(update=UNDEFENDED))


def poison_label(experiment: Experiment) -> str:
    """Short name of a cell's poison, which all its models share: attack with its fields · seed; "" without one."""
    return f"{experiment.attack.label}{_seed(experiment)}" if experiment.attack else ""


def _seed(experiment: Experiment) -> str:
    return f" · seed {experiment.seed}" if experiment.seed else ""
