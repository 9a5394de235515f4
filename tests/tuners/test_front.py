"""The validation front: by hand, against trying every subset of epochs, and nothing lost that a trial had dropped."""

from __future__ import annotations

import itertools
import random

import numpy as np
import pytest

from benchmark.config.spec import Search
from benchmark.stats import hypervolume
from tests.helpers.searches import held_at_the_end
from tuners.front import Front, front_epochs, front_of, front_rows
from tuners.selection_rules import Row

WANTED = Front(12, floor=0.1, lowest=0.2)


def _row(trial: int, epoch: int, accuracy: float, asr: float | None) -> Row:
    return Row(trial, epoch, "quasi_random", accuracy, asr)


def _places(rows: list[Row]) -> list[tuple[int, int]]:
    return [(row.trial, row.epoch) for row in rows]


def test_the_front_by_hand() -> None:
    rows = [
        _row(0, 1, 0.70, 0.90),
        _row(0, 2, 0.69, 0.95),  # beaten by the epoch before
        _row(1, 1, 0.60, 0.40),
        _row(1, 2, 0.60, 0.40),  # the same again
        _row(2, 1, 0.65, 0.40),  # beats both
        _row(2, 2, 0.10, 0.00),  # collapsed: no cure
        _row(3, 1, 0.50, 0.05),
        _row(3, 2, 0.40, 0.00),  # less than the twin's own rate is worth no more
        _row(4, 1, 0.90, None),
        _row(4, 2, float("nan"), 0.0),
        _row(4, 3, 0.90, float("nan")),
    ]
    assert _places(front_rows(rows, WANTED)) == [(0, 1), (2, 1), (3, 1)]
    assert front_rows(rows[::-1], WANTED) == front_rows(rows, WANTED)
    assert front_rows(rows[2:4], WANTED) == [rows[2]]  # of equal ones the first


def test_a_floor_that_is_no_number_leaves_nothing_and_none_subtracts_nothing() -> None:
    rows = [_row(0, 1, 0.7, 0.05), _row(0, 2, 0.6, 0.02)]
    assert front_rows(rows, WANTED._replace(floor=float("nan"))) == []
    assert _places(front_rows(rows, WANTED)) == [(0, 1)]  # both are under the floor
    assert _places(front_rows(rows, WANTED._replace(floor=None))) == [(0, 1), (0, 2)]


def test_a_search_says_how_many_and_the_start_what_has_collapsed() -> None:
    asked = front_of(Search(front=3, collapse=0.5), floor=0.1, start_accuracy=0.8)
    assert asked == Front(3, 0.1, 0.4)
    rows = [_row(0, 1, 0.7, 0.5)]
    nothing = front_of(Search(), floor=None, start_accuracy=0.8)
    assert front_rows(rows, nothing) == [] and front_epochs(rows, nothing) == set()


def test_the_epoch_that_costs_the_smallest_area_goes_first_one_after_another() -> None:
    draw = random.Random(1)
    for _ in range(20):
        rows = [_row(t, 1, draw.randint(30, 90) / 100, draw.randint(10, 100) / 100) for t in range(40)]
        whole = front_rows(rows, WANTED._replace(size=99))
        for size in range(1, len(whole)):
            larger = front_rows(rows, WANTED._replace(size=size + 1))
            subsets = [list(rest) for rest in itertools.combinations(larger, size)]
            areas = [hypervolume(np.array([(row.accuracy, (row.asr or 0) - 0.1) for row in rest])) for rest in subsets]
            found = front_rows(rows, WANTED._replace(size=size))
            assert areas[subsets.index(found)] == pytest.approx(max(areas), abs=1e-12)


def test_of_equal_costs_the_later_trial_goes_then_the_later_epoch() -> None:
    even = [(0.8, 0.6), (0.7, 0.5), (0.6, 0.4), (0.5, 0.3)]  # the two in the middle cost the same
    wanted = Front(3, floor=None, lowest=0.0)
    for trials in itertools.permutations(range(4)):
        rows = [_row(trial, 1, *point) for trial, point in zip(trials, even, strict=True)]
        later = max(trials[1], trials[2])
        assert later not in {row.trial for row in front_rows(rows, wanted)}
    rows = [_row(7, 9 - i, *point) for i, point in enumerate(even)]
    assert _places(front_rows(rows, wanted)) == [(7, 9), (7, 7), (7, 6)]


@pytest.mark.parametrize("size", [1, 3, 12])
def test_the_cells_front_was_kept_after_every_epoch_of_its_trial(size: int) -> None:
    draw = random.Random(size)
    wanted = WANTED._replace(size=size)
    for _ in range(60):
        rows = [
            _row(t, e, draw.randint(10, 80) / 100, draw.choice([None, *(draw.randint(0, 100) / 100 for _ in range(9))]))
            for t in range(4)
            for e in range(1, 20)
        ]
        found = front_rows(rows, wanted)
        assert len(found) <= size
        assert set(_places(found)) <= held_at_the_end(rows, lambda seen: front_epochs(seen, wanted))


def test_at_most_as_many_of_a_trial_would_lose_an_epoch_of_the_cells_front() -> None:
    """Why a trial keeps its whole front: others may beat the neighbours beside which an epoch looked cheap."""
    wanted = Front(3, floor=None, lowest=0.0)
    own = [_row(0, e, *point) for e, point in enumerate([(0.9, 0.9), (0.62, 0.52), (0.6, 0.5), (0.3, 0.1)], start=1)]
    others = [_row(1, 1, 0.95, 0.52), _row(2, 1, 0.55, 0.05)]
    cut = front_rows(own, wanted)
    joint = front_rows([*own, *others], wanted)
    assert own[2] in joint
    assert own[2] not in cut
    assert {row.epoch for row in joint if row.trial == 0} <= front_epochs(own, wanted)


def test_of_each_strip_the_most_accurate_epoch_may_stand_and_more_never_bring_one_back() -> None:
    wanted = Front(4, floor=0.0, lowest=0.2, strips=4)
    rows = [
        _row(0, 1, 0.70, 0.90),
        _row(0, 2, 0.69, 0.80),  # on the whole front, but second in the strip above 0.75
        _row(1, 1, 0.60, 0.30),
        _row(1, 2, 0.60, 0.26),  # as accurate, with less attack success
        _row(2, 1, 0.50, 0.60),  # best of its strip, beaten from another
        _row(2, 2, 0.40, 1.00),
    ]
    assert _places(front_rows(rows, wanted)) == [(0, 1), (1, 2)]
    assert _places(front_rows(rows, wanted._replace(strips=0))) == [(0, 1), (0, 2), (1, 2)]
    better = [*rows, _row(3, 1, 0.71, 0.99)]
    assert _places(front_rows(better, wanted)) == [(3, 1), (1, 2)]
