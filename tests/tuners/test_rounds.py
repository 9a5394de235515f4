"""Proposals: pure, the same after a kill, blind in the first part, and never drawn to collapsed trials."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from benchmark.config.spec import Search
from benchmark.errors import UserError
from benchmark.types import Choices, Range
from tuners.rounds import FinishedTrial, Phase, Round, grid_points, plan_rounds, propose

SPACE = {
    "rate": Range(1e-6, 1e-2, log=True),
    "weight": Range(0.0, 8.0),
    "epochs": Range(2, 9),
    "mode": Choices(("a", "b", None)),
}
SEARCH = Search(trials=10, quasi_random=5, round_size=2, startup_trials=4)


def _measured(parameters: dict[str, Any]) -> tuple[float, float]:
    """A trade-off: a higher rate costs accuracy and lowers attack success."""
    position = (np.log10(parameters["rate"]) + 6) / 4
    return 0.8 - 0.3 * position**2, 0.9 * (1 - position) + 0.01 * parameters["weight"]


def _finish(trial: int, phase: Phase, parameters: dict[str, Any]) -> FinishedTrial:
    return FinishedTrial(trial, phase, parameters, *_measured(parameters), status="ok")


def _run(search: Search, key: str = "key", finished: Sequence[FinishedTrial] = ()) -> list[FinishedTrial]:
    """Runs a whole search, round by round, from what is finished."""
    done = list(finished)
    for round in plan_rounds(search):
        for trial, parameters in zip(
            round.trials, propose(key, round, SPACE, search=search, finished=done), strict=True
        ):
            if trial not in {item.trial for item in done}:
                done.append(_finish(trial, round.phase, parameters))
    return done


def test_rounds_cover_the_budget_once_in_order() -> None:
    assert plan_rounds(SEARCH) == (
        Round(1, "quasi_random", (1, 2)),
        Round(2, "quasi_random", (3, 4)),
        Round(3, "quasi_random", (5,)),
        Round(4, "tpe", (6, 7)),
        Round(5, "tpe", (8, 9)),
        Round(6, "tpe", (10,)),
    )
    assert plan_rounds(Search(trials=1, quasi_random=4, round_size=3)) == (Round(1, "quasi_random", (1,)),)


def test_same_inputs_same_proposals_and_another_key_others() -> None:
    assert _run(SEARCH) == _run(SEARCH)
    ours, others = _run(SEARCH), _run(SEARCH, key="another")
    assert all(a.parameters != b.parameters for a, b in zip(ours, others, strict=True))


def test_the_order_of_the_finished_trials_does_not_matter() -> None:
    done = _run(SEARCH)
    last = plan_rounds(SEARCH)[-1]
    assert propose("key", last, SPACE, search=SEARCH, finished=done[::-1]) == [done[-1].parameters]


@pytest.mark.parametrize("kept", range(11))
def test_a_search_killed_after_any_trial_goes_on_with_the_same_proposals(kept: int) -> None:
    undisturbed = _run(SEARCH)
    assert _run(SEARCH, finished=undisturbed[:kept]) == undisturbed


def test_quasi_random_points_depend_on_neither_results_nor_round_size_nor_budget() -> None:
    def points(search: Search, finished: Sequence[FinishedTrial] = ()) -> list[dict[str, Any]]:
        rounds = [round for round in plan_rounds(search) if round.phase == "quasi_random"]
        return [point for round in rounds for point in propose("key", round, SPACE, search=search, finished=finished)]

    blind = points(SEARCH)
    assert points(SEARCH, finished=_run(SEARCH)) == blind
    assert points(Search(trials=10, quasi_random=5, round_size=5)) == blind
    assert points(Search(trials=40, quasi_random=20, round_size=3))[:5] == blind


def test_quasi_random_points_fill_the_ranges_evenly() -> None:
    search = Search(trials=64, quasi_random=64, round_size=64)
    found = propose("key", plan_rounds(search)[0], SPACE, search=search)
    logs = np.log10([point["rate"] for point in found])
    assert np.histogram(logs, bins=8, range=(-6, -2))[0].tolist() == [8] * 8  # a Sobol net puts 8 in every eighth
    counts = np.bincount([point["epochs"] for point in found], minlength=10)
    assert counts[:2].sum() == 0
    assert counts[2:].tolist() == [8] * 8
    assert {point["mode"] for point in found} == {"a", "b", None}
    assert all(type(point["epochs"]) is int and type(point["rate"]) is float for point in found)


def test_every_proposal_lies_in_its_range_with_six_digits() -> None:
    for trial in _run(SEARCH):
        assert 1e-6 <= trial.parameters["rate"] <= 1e-2
        assert float(f"{trial.parameters['rate']:.6g}") == trial.parameters["rate"]
        assert trial.parameters["epochs"] in range(2, 10)
        assert trial.parameters["mode"] in ("a", "b", None)


def _weights(status: str, asr: float | None, accuracy: float | None = 0.7) -> np.ndarray:
    """What 30 searches propose for `weight` after heavy weights gave this and light ones an ordinary result."""
    search = Search(trials=21, quasi_random=20, round_size=20, startup_trials=4)
    space = {"weight": Range(0.0, 8.0)}
    done = [
        FinishedTrial(trial, "quasi_random", {"weight": weight}, accuracy, asr, status)
        if weight > 4
        else FinishedTrial(trial, "quasi_random", {"weight": weight}, 0.7, 0.5, "ok")
        for trial, weight in enumerate(np.linspace(0.1, 7.9, 20).tolist(), start=1)
    ]
    last = plan_rounds(search)[-1]
    keys = [f"key {i}" for i in range(30)]
    return np.array([propose(key, last, space, search=search, finished=done)[0]["weight"] for key in keys])


def test_collapsed_trials_never_flatter_the_search() -> None:
    # a trial that was cut short has little attack success yet: as an ordinary result it draws the search to it
    assert np.mean(_weights("ok", 0.0) > 4) > 0.8
    assert np.mean(_weights("collapsed", 0.0) > 4) < 0.3


def test_failed_trials_and_numbers_that_are_none_are_left_out() -> None:
    failed = _weights("failed", 0.0).tolist()
    assert failed == _weights("ok", float("nan")).tolist()
    assert failed == _weights("ok", None).tolist()
    assert failed == _weights("out_of_memory", None, None).tolist()
    assert failed != _weights("ok", 0.0).tolist()


def test_a_search_whose_trials_all_collapsed_still_proposes_over_the_whole_range() -> None:
    search = Search(trials=40, quasi_random=8, round_size=32, startup_trials=2)
    space = {"weight": Range(0.0, 8.0)}
    done = [FinishedTrial(i, "quasi_random", {"weight": 7.0 + i / 100}, 0.0, 0.0, "collapsed") for i in range(1, 9)]
    points = [point["weight"] for point in propose("key", plan_rounds(search)[-1], space, search=search, finished=done)]
    assert min(points) < 2 < 6 < max(points)


def test_defaults_outside_the_space_are_left_out_and_inside_are_used() -> None:
    done = _run(SEARCH)[:5]
    round = plan_rounds(SEARCH)[3]
    plain = propose("key", round, SPACE, search=SEARCH, finished=done)
    outside = FinishedTrial(0, "default", {"rate": 0.5, "weight": 1.0, "epochs": 3, "mode": "a"}, 0.7, 0.2, "ok")
    assert propose("key", round, SPACE, search=SEARCH, finished=[outside, *done]) == plain
    inside = outside._replace(parameters={**outside.parameters, "rate": 1e-3})
    assert propose("key", round, SPACE, search=SEARCH, finished=[inside, *done]) != plain


def test_tpe_finds_the_front_better_than_chance() -> None:
    search = Search(trials=48, quasi_random=16, round_size=4, startup_trials=8)
    trials = _run(search)
    # the front is where `weight` is small, since it only raises attack success
    late = [trial.parameters["weight"] for trial in trials[24:]]
    assert np.mean(late) < 3.5


def test_optuna_stays_quiet_and_its_verbosity_as_it_was(caplog: pytest.LogCaptureFixture) -> None:
    import optuna

    before = optuna.logging.get_verbosity()
    with caplog.at_level(logging.INFO):
        _run(SEARCH)
    assert optuna.logging.get_verbosity() == before
    assert caplog.records == []


def test_a_grid_runs_every_combination_once_and_more_trials_go_on_with_it() -> None:
    space = {"rate": Choices((1e-4, 1e-3)), "weight": Choices((1, 2, 4))}
    points = grid_points(space)
    assert points == [{"rate": rate, "weight": weight} for rate in (1e-4, 1e-3) for weight in (1, 2, 4)]
    (few,), (all_of_it,) = (plan_rounds(Search(trials=trials, grid=True)) for trials in (4, 6))
    assert (few.phase, few.trials) == ("grid", (1, 2, 3, 4))
    search = Search(trials=6, grid=True)
    assert propose("any", few, space, search=search) == points[:4]
    assert propose("another", all_of_it, space, search=search) == points


def test_a_grid_over_a_range_is_refused() -> None:
    with pytest.raises(UserError, match=r"search\.grid: space of rate must be choices"):
        grid_points(SPACE)
