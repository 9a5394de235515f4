"""What a suite may ask of a rebound, and that nothing else moves where it asks."""

from __future__ import annotations

from typing import Any

import pytest

from benchmark.config.overrides import override
from benchmark.config.rebound import Rebound
from benchmark.config.spec import Splits, Suite
from benchmark.errors import UserError
from benchmark.repairs.fine_tuning import FineTuning
from benchmark.stages.keys import cells_of
from benchmark.stages.rebounds import rebound_of, trajectories
from benchmark.validation import validated
from suites.smoke import suite as smoke
from tests.helpers.finished import made_up

pytestmark = pytest.mark.unit


def test_no_key_moves_where_a_suite_asks_for_a_rebound() -> None:
    asked = smoke().model_copy(update={"rebound": Rebound()})
    assert [cell.keys for cell in cells_of(asked)] == [cell.keys for cell in cells_of(smoke())]


def test_a_suite_without_one_is_written_as_before() -> None:
    assert "rebound" not in smoke().to_dict()
    asked = smoke().model_copy(update={"rebound": Rebound(steps=(0, 3))})
    assert Suite.from_dict(asked.to_dict()) == asked


def test_a_field_of_it_alone_asks_for_the_rest_at_its_defaults() -> None:
    asked = override(smoke(), {"rebound.steps": "[0, 7]"}).rebound
    assert asked == Rebound(steps=(0, 7))
    assert override(smoke(), {"rebound": "{}"}).rebound == Rebound()


@pytest.mark.parametrize(
    ("field", "value", "rule"),
    [
        ("steps", [5, 10], "0 first, then rising"),
        ("steps", [0, 10, 10], "0 first, then rising"),
        ("steps", [0], "a list of 2 or more"),
        ("learning_rates", [1e-3, 1e-3], "distinct"),
        ("learning_rates", [0.0], "greater than 0"),
        ("scopes", [], "a list of 1 or more"),
        ("selections", ["oracle", "oracle"], "distinct"),
        ("seeds", 0, "greater than or equal to 1"),
    ],
)
def test_what_means_nothing_is_refused(field: str, value: Any, rule: str) -> None:
    with pytest.raises(UserError, match=rf"rebound\.{field}.* must be {rule}"):
        validated(Rebound, {field: value}, place="rebound")


@pytest.mark.parametrize("field", ["batch_size", "rows"])
def test_more_pairs_than_the_clean_split_has_are_refused_at_once(field: str) -> None:
    with pytest.raises(UserError, match=rf"rebound\.{field} must be at most splits\.clean 50, got 51; lower it"):
        validated(Suite, dict(made_up(splits=Splits(clean=50))) | {"rebound": {"batch_size": 8, field: 51}}, place="s")


@pytest.mark.parametrize(
    ("repairs", "rates"),
    [((FineTuning(learning_rate=3e-4),), (3e-4, 3e-5)), ((), (1e-5, 1e-6))],
)
def test_rates_are_those_of_the_suites_fine_tuning_and_a_tenth_of_it(
    repairs: tuple[FineTuning, ...], rates: tuple[float, ...]
) -> None:
    asked = rebound_of(made_up(repairs=repairs, rebound=Rebound()))
    assert asked is not None and asked.learning_rates == rates


def test_rates_are_given_where_the_suite_has_several() -> None:
    repairs = (FineTuning(learning_rate=1e-3), FineTuning(learning_rate=1e-4))
    with pytest.raises(UserError, match=r"rebound\.learning_rates must be given .*got \[0\.0001, 0\.001\]"):
        rebound_of(made_up(repairs=repairs, rebound=Rebound()))
    asked = rebound_of(made_up(repairs=repairs, rebound=Rebound(learning_rates=(0.5,))))
    assert asked is not None and asked.learning_rates == (0.5,)
    assert rebound_of(made_up()) is None


def test_a_trajectory_for_each_scope_and_rate() -> None:
    asked = Rebound(learning_rates=(1.0, 0.1), steps=(0, 4))
    forms = [(one.scope, one.learning_rate) for one in trajectories(asked)]
    assert forms == [("full", 1.0), ("full", 0.1), ("projection", 1.0), ("projection", 0.1)]
    assert {one.steps for one in trajectories(asked)} == {(0, 4)}
