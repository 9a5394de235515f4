"""Samplers on the surface: which points of the grid each of them would have run, in order.

A proposal is the point that is nearest to it and was not run before: where axes are continuous no two trials are the
same, and a sampler that looks closely at one place sees what is around it.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Collection
from typing import Any, NamedTuple

import numpy as np
import optuna
from optuna.samplers import BaseSampler, GPSampler, NSGAIISampler, TPESampler
from optuna.trial import TrialState

from benchmark.config.spec import Search
from benchmark.perf.surface.table import Curves
from benchmark.perf.surface.value import COLLAPSE
from benchmark.perf.surface.world import (
    HIGHEST_RATE,
    HIGHEST_WEIGHT,
    LEARNING_RATES,
    LOWEST_RATE,
    LOWEST_WEIGHT,
    SSL_WEIGHTS,
    rates,
    weights,
)
from benchmark.types import Range
from tuners.queue import CellSearch, CellState, TrialResult

Draw = Callable[[Curves, int, int], list[int]]  # the model, how many trials, the seed; points in order


class Sampler(NamedTuple):
    """A way to choose trials."""

    name: str
    draw: Draw
    cost: int = 1  # how many times fewer redraws it gets
    anytime: bool = True  # a smaller budget is the beginning of a larger one


def _with(make: Callable[[int], BaseSampler]) -> Draw:
    """A sampler of Optuna, asked for one trial after the other; it is told a trial's last epoch."""

    def draw(curves: Curves, trials: int, seed: int) -> list[int]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            study = optuna.create_study(sampler=make(seed), directions=["maximize", "minimize"])
            found = []
            for _ in range(trials):
                trial = study.ask()
                rate = trial.suggest_int("learning_rate", 0, LEARNING_RATES - 1)
                weight = trial.suggest_int("ssl_weight", 0, SSL_WEIGHTS - 1)
                found.append(free(rate, weight, found))
                told = last(curves, found[-1])
                # a trial that fell apart ranks below all others, as in a search
                study.tell(trial, told) if told else study.tell(trial, state=TrialState.PRUNED)
        return found

    return draw


def last(curves: Curves, trial: int) -> tuple[float, float] | None:
    """CA and net ASR on validation after a trial's last epoch; None where it collapsed."""
    accuracy, asr = curves.validation.points[trial, -1]
    lasts = np.isfinite(accuracy) and accuracy >= COLLAPSE * curves.validation.start[0]
    return (float(accuracy), float(asr)) if lasts else None


def _random(curves: Curves, trials: int, seed: int) -> list[int]:
    return np.random.default_rng(seed).permutation(curves.num_trials)[:trials].tolist()


def _sobol(curves: Curves, trials: int, seed: int) -> list[int]:
    return _proposed(curves, Search(trials=trials, quasi_random=trials), seed)


def _half_and_half(round_size: int) -> Draw:
    """A search of this project: half of the trials Sobol's, then rounds of TPE."""

    def draw(curves: Curves, trials: int, seed: int) -> list[int]:
        half = trials // 2
        search = Search(trials=trials, quasi_random=half, round_size=round_size, startup_trials=half)
        return _proposed(curves, search, seed)

    return draw


def _proposed(curves: Curves, search: Search, seed: int) -> list[int]:
    """The points nearest to what a search of this project proposes."""
    space = {
        "learning_rate": Range(LOWEST_RATE, HIGHEST_RATE, log=True),
        "ssl_weight": Range(LOWEST_WEIGHT, HIGHEST_WEIGHT, log=True),
    }
    outside = {"learning_rate": 0.0, "ssl_weight": 0.0}  # defaults that nothing is learnt from
    state, found = CellState(CellSearch("cell", f"draw-{seed}", search, space, outside)), []
    while (proposal := state.ask()) is not None:
        report: dict[str, Any] = {"status": "failed"}
        if proposal.trial:
            found.append(free(*nearest(**proposal.parameters), found))
            report = _report(curves, found[-1])
        state.tell(TrialResult.of(proposal.config(), report))
    return found


def _report(curves: Curves, point: int) -> dict[str, Any]:
    told = last(curves, point)
    return {"status": "ok", "accuracy": told[0], "asr": told[1]} if told else {"status": "collapsed"}


def nearest(learning_rate: float, ssl_weight: float) -> tuple[int, int]:
    """Places on both axes that are nearest in the logarithm."""
    return _place(learning_rate, rates()), _place(ssl_weight, weights())


def free(rate: int, weight: int, taken: Collection[int]) -> int:
    """The number of the nearest point that is not taken, by places on both axes; of equally near ones the first."""

    def distance(point: int) -> int:
        return (point // SSL_WEIGHTS - rate) ** 2 + (point % SSL_WEIGHTS - weight) ** 2

    return min((point for point in range(LEARNING_RATES * SSL_WEIGHTS) if point not in taken), key=distance)


def _place(value: float, values: tuple[float, ...]) -> int:
    return min(range(len(values)), key=lambda i: abs(math.log(value / values[i])))


SAMPLERS = (
    Sampler("random", _random),
    Sampler("Sobol", _sobol),
    Sampler("Sobol, TPE by 4", _half_and_half(4), anytime=False),
    Sampler("Sobol, TPE by 8", _half_and_half(8), anytime=False),
    Sampler("TPE", _with(lambda seed: TPESampler(multivariate=True, seed=seed))),
    Sampler("NSGA-II of 8", _with(lambda seed: NSGAIISampler(population_size=8, seed=seed))),
    Sampler("GP", _with(lambda seed: GPSampler(seed=seed, n_startup_trials=8)), cost=5),
)
