"""The search key: paired cells look at equal points, seeds at others; a larger budget goes on with a smaller one's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from benchmark.attacks.badnet import BadNet
from benchmark.attacks.blended import Blended
from benchmark.config.spec import Search, Suite
from benchmark.datasets.shapes.dataset import Shapes
from benchmark.objectives.mmcl import MMCL
from benchmark.objectives.mmcl_ssl import MMCLSSL
from benchmark.repairs.cleanclip import CleanCLIP
from benchmark.stages.cells import Cell
from benchmark.stages.keys import cells_of, defend_key
from benchmark.stages.trial import SearchCell, describe, repair_of
from benchmark.types import Range
from tests.helpers.searches import run_search_locally
from tuners.queue import CellSearch, TrialResult

SEARCH = Search(trials=8, quasi_random=4, round_size=3)


def _cells(search: Search, *, seeds: tuple[int, ...] = (0,)) -> list[Cell]:
    """The searched cells: two objectives, two attacks."""
    suite = Suite(
        name="searched",
        data=Shapes(num_rows=4000),
        objectives=(MMCL(), MMCLSSL()),
        attacks=(BadNet(target="ring"), Blended(target="star")),
        repairs=(CleanCLIP(),),
        searched=frozenset({"cleanclip"}),
        search=search,
        spaces={"cleanclip": {"learning_rate": Range(1e-5, 1e-2, log=True)}},
        seeds=seeds,
    )
    return [cell for cell in cells_of(suite) if cell.experiment.search]


def _search(cell: Cell, store: dict[str, Mapping[str, Any]]) -> tuple[CellSearch, list[TrialResult], int]:
    """Runs a search on a store of trials by defend key: what it found, what it ended with, how many it ran."""
    found, ran = describe(SearchCell(cell, 0.7, 0.1), store.get), 0

    def trial(config: dict[str, Any]) -> Any:
        nonlocal ran
        ran += 1
        rate = config["parameters"]["learning_rate"]
        facts = {"status": "ok", "accuracy": 0.8 - 20 * rate, "asr": 0.9 - 80 * rate}
        store[defend_key(cell, repair_of(cell, config["parameters"]))] = facts
        return facts

    return found, run_search_locally([found], trial)[cell.keys.record], ran


def _points(results: list[TrialResult]) -> list[tuple[int, Mapping[str, Any]]]:
    return [(result.trial, result.parameters) for result in results]


def test_a_search_that_is_extended_runs_only_what_is_new_and_ends_as_if_it_had_been_asked_for_at_once() -> None:
    store: dict[str, Mapping[str, Any]] = {}
    _, first, ran = _search(_cells(SEARCH)[0], store)
    assert ran == len(first) == 1 + 8
    larger = _cells(SEARCH.model_copy(update={"trials": 12}))[0]
    found, extended, ran = _search(larger, store)
    assert _points(list(found.finished)) == _points(first)  # 8 of 12, and the defaults
    assert ran == 4
    _, at_once, ran = _search(larger, {})
    assert ran == 1 + 12
    assert _points(extended) == _points(at_once)


@pytest.mark.parametrize(
    ("change", "reused"),
    [
        ({"quasi_random": 6}, 1 + 4),  # its further points are TPE's no more
        ({"round_size": 1}, 1 + 4),
        ({"startup_trials": 9}, 1 + 4),
        ({"asr_bound": 0.1}, 0),  # another rule keeps other weights: the same points are run again
        ({"front": 12}, 0),
        ({"trials": 6}, 1 + 6),
    ],
)
def test_what_a_search_says_of_budget_and_rules_moves_no_quasi_random_point(
    change: dict[str, Any], reused: int
) -> None:
    store: dict[str, Mapping[str, Any]] = {}
    _, first, _ = _search(_cells(SEARCH)[0], store)
    found, changed, _ = _search(_cells(SEARCH.model_copy(update=change))[0], store)
    assert _points(changed)[:5] == _points(first)[:5]
    assert len(found.finished) >= reused
    assert bool(found.finished) == bool(reused)


def test_a_front_of_another_size_keeps_the_same_weights() -> None:
    store: dict[str, Mapping[str, Any]] = {}
    _search(_cells(SEARCH.model_copy(update={"front": 4}))[0], store)
    _, _, ran = _search(_cells(SEARCH.model_copy(update={"front": 12}))[0], store)
    assert ran == 0


def test_quasi_random_points_are_equal_for_paired_cells_of_a_seed_and_drawn_anew_for_each_seed() -> None:
    points: dict[int, list[list[float]]] = {}
    for cell in _cells(SEARCH, seeds=(0, 1)):
        results = _search(cell, {})[1]
        rates = [result.parameters["learning_rate"] for result in results if result.phase == "quasi_random"]
        points.setdefault(cell.experiment.seed, []).append(rates)
    assert [len(cells) for cells in points.values()] == [4, 4]
    assert all(rates == cells[0] for cells in points.values() for rates in cells)
    assert not set(points[0][0]) & set(points[1][0])
