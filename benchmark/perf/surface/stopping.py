"""Stopping rules on curves that were measured whole: which epochs each of them would have run.

A rule sees what validation says of a trial so far, as the area that its epochs dominate: a single number that rises
with clean accuracy kept and attack success lost. It is asked after every epoch; trials go one after the other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import optuna
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner, SuccessiveHalvingPruner
from optuna.trial import TrialState

from benchmark.perf.surface.table import Curves
from benchmark.stats import hypervolume


class StoppingRule(NamedTuple):
    """A rule by name; what it makes may depend on how many epochs a trial has."""

    name: str
    make: Callable[[int], BasePruner]


RULES = (
    StoppingRule("none", lambda epochs: NopPruner()),
    StoppingRule(
        "median, after a quarter", lambda epochs: MedianPruner(n_startup_trials=4, n_warmup_steps=epochs // 4)
    ),
    StoppingRule("successive halving", lambda epochs: SuccessiveHalvingPruner(min_resource=1, reduction_factor=2)),
    StoppingRule("successive thirds", lambda epochs: SuccessiveHalvingPruner(min_resource=2, reduction_factor=3)),
    StoppingRule("hyperband", lambda epochs: HyperbandPruner(1, epochs, 3)),
)


def run(curves: Curves, trials: Sequence[int], rule: StoppingRule, *, epochs: int, seed: int) -> dict[int, int]:
    """Runs trials under a rule until so many epochs were run; the last trial may go over.

    Args:
        curves: of one model.
        trials: different ones, in the order in which they start.
        rule: asked after every epoch.
        epochs: of all trials together.
        seed: names the study, by which hyperband puts trials into brackets.

    Returns:
        trial -> how many of its epochs were run.
    """
    study = optuna.create_study(direction="maximize", pruner=rule.make(curves.num_epochs), study_name=f"draw-{seed}")
    ran: dict[int, int] = {}
    for number in trials:
        if sum(ran.values()) >= epochs:
            break
        ran[number] = _epochs_of(study, _areas(curves, number))
    return ran


def _epochs_of(study: optuna.Study, areas: Sequence[float]) -> int:
    """How many epochs of a trial are run."""
    trial = study.ask()
    for epoch, area in enumerate(areas, 1):
        trial.report(area, epoch)
        if epoch < len(areas) and trial.should_prune():
            study.tell(trial, state=TrialState.PRUNED)
            return epoch
    study.tell(trial, areas[-1]) if areas else study.tell(trial, state=TrialState.FAIL)
    return len(areas)


def _areas(curves: Curves, trial: int) -> list[float]:
    """What a trial's epochs dominate after each of them."""
    points = curves.validation.points[trial]
    count = int(np.isfinite(points[:, 0]).sum())
    return [hypervolume(points[: i + 1]) for i in range(count)]
