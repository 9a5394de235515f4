"""What each budget and each stopping rule would have found, over many redraws."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from benchmark.perf.surface.samplers import SAMPLERS, Sampler
from benchmark.perf.surface.stopping import RULES, run
from benchmark.perf.surface.table import Curves
from benchmark.perf.surface.value import Worth, whole, worth

BUDGETS = (8, 16, 24, 32, 64)
GOAL = 0.99  # of the area of the whole grid's front


class SamplerLine(NamedTuple):
    """A sampler with a budget; shares are of what the whole grid finds, means over models and redraws."""

    sampler: str
    trials: int
    redraws: int
    validation: float
    low: float  # a tenth of the searches found less, on validation
    test: float
    reached: float  # share of the searches that reached GOAL on validation
    gap: float  # of the normalised area on test between the objectives, mean of the seeds
    gap_deviation: float  # over redraws
    cut_gap: float  # of the published cut
    cut_deviation: float


class StopLine(NamedTuple):
    """A stopping rule on a random search; shares as above."""

    rule: str
    trials: float  # mean number that were begun
    epochs: float  # that were run, as a share of those of the whole grid
    validation: float
    low: float
    test: float
    reached: float


def sampler_lines(models: Sequence[Curves], redraws: int) -> Iterator[SamplerLine]:
    """Every sampler with every budget, and the whole grid as the last line."""
    best = [worth(curves, whole(curves)) for curves in models]
    for sampler in SAMPLERS:
        for budget, found in _drawn(models, sampler, max(2, redraws // sampler.cost)).items():
            yield _sampler_line(sampler.name, budget, models, found, best)
    yield _sampler_line("whole grid", models[0].num_trials, models, [best], best)


def stop_lines(models: Sequence[Curves], redraws: int, *, trials: int, equal: str) -> Iterator[StopLine]:
    """Every stopping rule on random trials.

    Args:
        models: all of one size.
        redraws: searches of each model.
        trials: how many there are.
        equal: "trials": each rule has that many; "epochs": what it saves goes into further ones.
    """
    best = [worth(curves, whole(curves)) for curves in models]
    grid = models[0].num_trials * models[0].num_epochs
    epochs = trials * models[0].num_epochs if equal == "epochs" else grid
    begun = models[0].num_trials if equal == "epochs" else trials
    for rule in RULES:
        ran = [
            [run(curves, _order(curves, seed)[:begun], rule, epochs=epochs, seed=seed) for curves in models]
            for seed in range(redraws)
        ]
        found = [[worth(curves, one) for curves, one in zip(models, draw, strict=True)] for draw in ran]
        searches = [one for draw in ran for one in draw]
        mean = float(np.mean([len(one) for one in searches]))
        share = float(np.mean([sum(one.values()) for one in searches])) / grid
        yield StopLine(rule.name, mean, share, *_shares(found, best))


def _order(curves: Curves, seed: int) -> list[int]:
    return np.random.default_rng(seed).permutation(curves.num_trials).tolist()


def _drawn(models: Sequence[Curves], sampler: Sampler, redraws: int) -> Mapping[int, list[list[Worth]]]:
    """Budget -> redraw -> what each model's search found."""
    found: dict[int, list[list[Worth]]] = defaultdict(list)
    for seed in range(redraws):
        longest = [sampler.draw(curves, BUDGETS[-1], seed) for curves in models] if sampler.anytime else []
        for budget in BUDGETS:
            chosen = longest or [sampler.draw(curves, budget, seed) for curves in models]
            pairs = zip(models, chosen, strict=True)
            found[budget].append([worth(one, dict.fromkeys(trials[:budget], one.num_epochs)) for one, trials in pairs])
    return found


def _sampler_line(
    name: str, budget: int, models: Sequence[Curves], found: Sequence[Sequence[Worth]], best: Sequence[Worth]
) -> SamplerLine:
    gaps = np.array(
        [[_gap(models, [one.test for one in draw]), _gap(models, [one.cut for one in draw])] for draw in found]
    )
    means, deviations = gaps.mean(0), gaps.std(0, ddof=1) if len(gaps) > 1 else np.zeros(2)
    validation, low, test, reached = _shares(found, best)
    return SamplerLine(
        name, budget, len(found), validation, low, test, reached, means[0], deviations[0], means[1], deviations[1]
    )


def _shares(found: Sequence[Sequence[Worth]], best: Sequence[Worth]) -> tuple[float, float, float, float]:
    """Mean and lowest tenth on validation, mean on test, share that reached the goal."""
    validation = np.array(
        [[one.validation / top.validation for one, top in zip(draw, best, strict=True)] for draw in found]
    )
    test = np.array([[one.test / top.test for one, top in zip(draw, best, strict=True)] for draw in found])
    return (
        float(validation.mean()),
        float(np.quantile(validation, 0.1)),
        float(test.mean()),
        float((validation >= GOAL).mean()),
    )


def _gap(models: Sequence[Curves], values: Sequence[float]) -> float:
    """First objective minus second, as on the board, mean of the seeds; NaN with one objective."""
    by_objective: dict[str, list[float]] = defaultdict(list)
    for curves, value in zip(models, values, strict=True):
        by_objective[curves.objective].append(value)
    means = [float(np.mean(values)) for values in by_objective.values()]
    return next((first - second for first, second in pairwise(means)), float("nan"))
