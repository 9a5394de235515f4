"""What a search proposes: a pure function of (search key, round, results of the trials before), nothing kept.

A search is the method's defaults (trial 0, outside the budget), then a grid, or quasi-random trials that no result
touches and rounds of multi-objective TPE (Ozaki et al. 2022; Optuna): clean accuracy up, attack success down. A driver
that was killed gets the same proposals again from the stored trials.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, cast

from benchmark.config.spec import Search
from benchmark.errors import must
from benchmark.quiet import quiet_optuna
from benchmark.store.keys import derive_seed
from benchmark.types import Choices, Range
from tuners.search_space import distributions

if TYPE_CHECKING:
    from optuna.study import Study
    from optuna.trial import FrozenTrial

Phase = Literal["default", "grid", "quasi_random", "tpe"]
Space = Mapping[str, Range | Choices]
_DIGITS = 6  # significant digits of a proposal, so that the last bit of a logarithm never changes a content key
_SEEDS = 2**32  # NumPy's RandomState and SciPy take 32-bit seeds


class Round(NamedTuple):
    """One round of a search."""

    number: int  # 1-based; round 0 is the trial with the defaults
    phase: Phase
    trials: tuple[int, ...]  # trial numbers, 1-based


class FinishedTrial(NamedTuple):
    """What a later round may know of a trial."""

    trial: int
    phase: Phase
    parameters: Mapping[str, Any]
    accuracy: float | None  # validation CA
    asr: float | None  # validation ASR
    status: str  # "ok", "collapsed", or a status of `schemas.Status`


def plan_rounds(search: Search) -> tuple[Round, ...]:
    """The rounds of a search in order: quasi-random trials first, then TPE, `round_size` trials each; or a grid."""
    if search.grid:
        return (Round(1, "grid", tuple(range(1, search.trials + 1))),)
    quasi_random = min(search.quasi_random, search.trials)
    parts: tuple[tuple[Phase, range], ...] = (
        ("quasi_random", range(1, quasi_random + 1)),
        ("tpe", range(quasi_random + 1, search.trials + 1)),
    )
    rounds: list[Round] = []
    for phase, part in parts:
        for start in range(0, len(part), search.round_size):
            rounds.append(Round(len(rounds) + 1, phase, tuple(part[start : start + search.round_size])))
    return tuple(rounds)


def propose(
    search_key: str, round: Round, space: Space, *, search: Search, finished: Sequence[FinishedTrial] = ()
) -> list[dict[str, Any]]:
    """Proposes the parameters of every trial of one round.

    Args:
        search_key: names the search; seeds everything.
        round: one of `plan_rounds(search)`.
        space: checked ranges, from `search_space.ranges`.
        search: the budget.
        finished: trials of earlier rounds, in any order; a quasi-random round does not look at them.

    Returns:
        One dict (field -> value) per trial of the round, in its order; floats have six significant digits.
    """
    if round.phase == "grid":
        points = grid_points(space)
        return [points[trial - 1] for trial in round.trials]
    if round.phase == "quasi_random":
        return _quasi_random(search_key, space, round.trials)
    earlier = [trial for trial in finished if trial.trial < round.trials[0]]
    return _tpe(search_key, round, space, search=search, finished=earlier)


def grid_points(space: Space) -> list[dict[str, Any]]:
    """Every combination of the choices of a space; the last field by name changes fastest.

    Raises:
        UserError: a field that has a range instead of choices.
    """
    for name, mark in space.items():
        if not isinstance(mark, Choices):
            raise must(f"search.grid: space of {name}", "choices, which a grid combines", mark, "list its values")
    names = sorted(space)
    combined = itertools.product(*(cast("Choices", space[name]).options for name in names))
    return [dict(zip(names, values, strict=True)) for values in combined]


def warm_up() -> None:
    """Imports what proposals need (seconds on a small machine), so that no running search waits for it."""
    import_module("optuna.samplers")
    import_module("scipy.stats.qmc")


def _quasi_random(search_key: str, space: Space, trials: Sequence[int]) -> list[dict[str, Any]]:
    """Trial i takes point i - 1 of the sequence, whatever the round size or the budget."""
    names = sorted(space)
    points = _sobol(search_key, len(names), max(trials).bit_length())
    return [
        {name: _scaled(space[name], unit) for name, unit in zip(names, points[trial - 1], strict=True)}
        for trial in trials
    ]


@functools.lru_cache(maxsize=1024)  # cells that are paired share their points
def _sobol(search_key: str, dimensions: int, power: int) -> list[list[float]]:
    """The first `2**power` points of a scrambled Sobol sequence."""
    from scipy.stats import qmc

    # only a power of two keeps the sequence balanced; its first points do not depend on how many are drawn
    sobol = qmc.Sobol(d=dimensions, scramble=True, rng=derive_seed(search_key, "quasi_random") % _SEEDS)
    points: list[list[float]] = sobol.random_base2(power).tolist()
    return points


def _scaled(mark: Range | Choices, unit: float) -> Any:
    """Maps a number in [0, 1) to a range (evenly, or evenly in the logarithm) or to a choice."""
    if isinstance(mark, Choices):
        return mark.options[min(int(unit * len(mark.options)), len(mark.options) - 1)]
    is_int = isinstance(mark.low, int) and isinstance(mark.high, int)
    low, high = (mark.low - 0.5, mark.high + 0.5) if is_int else (mark.low, mark.high)
    value = math.exp(math.log(low) + unit * (math.log(high) - math.log(low))) if mark.log else low + unit * (high - low)
    return _tidy(mark, round(value) if is_int else value)


def _tidy(mark: Range | Choices, value: Any) -> Any:
    """A plain Python value of few digits that still lies in the range."""
    if isinstance(mark, Choices):
        return value
    if isinstance(mark.low, int) and isinstance(mark.high, int):
        return min(max(int(value), mark.low), mark.high)
    return min(max(float(f"{value:.{_DIGITS}g}"), mark.low), mark.high)


def _tpe(
    search_key: str, round: Round, space: Space, *, search: Search, finished: Sequence[FinishedTrial]
) -> list[dict[str, Any]]:
    import optuna

    told = [
        trial for item in sorted(finished, key=lambda item: item.trial) if (trial := _frozen(item, space)) is not None
    ]
    bad = sum(trial.state == optuna.trial.TrialState.PRUNED for trial in told)
    sampler = optuna.samplers.TPESampler(
        multivariate=True,
        constant_liar=True,
        # pruned trials count as finished in Optuna, but nothing good is known before enough trials are ok
        n_startup_trials=search.startup_trials + bad,
        seed=derive_seed(search_key, "tpe", round.number) % _SEEDS,
    )
    with quiet_optuna():
        study = optuna.create_study(sampler=sampler, directions=["maximize", "minimize"])
        study.add_trials(told)
        return [_asked(study, space) for _ in round.trials]


def _asked(study: Study, space: Space) -> dict[str, Any]:
    parameters = study.ask(distributions(space)).params
    return {name: _tidy(space[name], parameters[name]) for name in sorted(space)}


def _frozen(item: FinishedTrial, space: Space) -> FrozenTrial | None:
    """A finished trial as Optuna's; None where its parameters lie outside the space (defaults may).

    A collapsed trial is PRUNED without a value, so it ranks below every trial that is ok, however low its attack
    success; a failed one and one whose numbers are not finite is FAIL, which TPE leaves out.
    """
    from optuna.trial import TrialState, create_trial

    known = distributions(space)
    parameters = {name: item.parameters.get(name) for name in known}
    if not all(_contains(space[name], value) for name, value in parameters.items()):
        return None
    found = (item.accuracy, item.asr)
    finite = all(value is not None and math.isfinite(value) for value in found)
    if item.status == "ok" and finite:
        return create_trial(params=parameters, distributions=known, values=[float(value or 0.0) for value in found])
    state = TrialState.PRUNED if item.status == "collapsed" else TrialState.FAIL
    return create_trial(state=state, params=parameters, distributions=known)


def _contains(mark: Range | Choices, value: Any) -> bool:
    if isinstance(mark, Choices):
        return value in mark.options
    return isinstance(value, (int, float)) and mark.low <= value <= mark.high
