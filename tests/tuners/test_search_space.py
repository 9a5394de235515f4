"""Search spaces: ranges beside fields, overrides, checks, and values put back into a repair."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from pydantic import Field

from benchmark.errors import UnknownNameError, UserError
from benchmark.types import Choices, Frozen, Range, Rate, Repair
from tuners import search_space


class Inner(Frozen):
    """A nested group of fields."""

    learning_rate: Annotated[float, Field(ge=0, le=1), Range(1e-5, 1e-2, log=True)] = 1e-3
    warmup: Annotated[int, Field(ge=0)] = 5


class Toy(Repair):
    """A repair with a field of every sort."""

    name: ClassVar[str] = "toy"
    strength: ClassVar[str | None] = "training.learning_rate"

    weight: Annotated[Rate, Range(0, 1)] = 0.5
    epochs: Annotated[int, Field(ge=1, le=20), Range(2, 10)] = 4
    group: Annotated[int | None, Field(ge=2)] = None
    mode: Annotated[Literal["a", "b", "c"], Choices(("a", "b"))] = "a"
    training: Inner = Inner()


def test_own_ranges_are_read_from_the_fields_with_the_fields_types() -> None:
    for method in (Toy, Toy()):
        found = search_space.ranges(method)
        assert list(found) == ["epochs", "mode", "training.learning_rate", "weight"]
        assert found["epochs"] == Range(2, 10)
        assert type(found["epochs"][0]) is int
        assert type(found["weight"][0]) is float
        assert found["training.learning_rate"] == Range(1e-5, 1e-2, log=True)
        assert found["mode"] == Choices(("a", "b"))


def test_overrides_replace_and_add() -> None:
    found = search_space.ranges(
        Toy, {"weight": Range(0.2, 0.4), "training.warmup": Range(1.0, 9.0), "group": Choices((2, None))}
    )
    assert found["weight"] == Range(0.2, 0.4)
    assert found["training.warmup"] == Range(1, 9)
    assert type(found["training.warmup"][0]) is int
    assert found["group"] == Choices((2, None))
    assert "mode" in found


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ({"epochs": Range(0, 3)}, "greater than or equal to 1"),
        ({"epochs": Range(1, 21)}, "less than or equal to 20"),
        ({"epochs": Range(1.5, 3)}, "whole at both ends"),
        ({"weight": Range(0.5, 1.5)}, "less than or equal to 1"),
        ({"training.learning_rate": Range(0.1, 2)}, "less than or equal to 1"),
        ({"mode": Range(0, 1)}, "numeric field"),
        ({"mode": Choices(())}, "at least one option"),
        ({"mode": Choices(("a", "a"))}, "each named once"),
        ({"mode": Choices(("a", "z"))}, "'a', 'b' or 'c'"),
        ({"group": Choices(((1, 2),))}, "a choice of numbers"),
    ],
)
def test_a_bad_range_is_one_line_that_names_field_and_rule(override: dict[str, Range | Choices], says: str) -> None:
    with pytest.raises(UserError) as caught:
        search_space.ranges(Toy, override)
    assert says in str(caught.value)
    assert next(iter(override)) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_unknown_field_is_refused_with_a_suggestion() -> None:
    with pytest.raises(UnknownNameError, match=r"did you mean weight"):
        search_space.ranges(Toy, {"wieght": Range(0, 1)})


def test_distributions_follow_the_bounds_types() -> None:
    found = search_space.distributions(search_space.ranges(Toy))
    assert found["epochs"] == IntDistribution(2, 10)
    assert found["weight"] == FloatDistribution(0.0, 1.0)
    assert found["training.learning_rate"] == FloatDistribution(1e-5, 1e-2, log=True)
    assert found["mode"] == CategoricalDistribution(("a", "b"))


def test_apply_returns_a_checked_copy_and_values_reads_it_back() -> None:
    toy = Toy()
    parameters = {"epochs": 7, "mode": "b", "training.learning_rate": 0.01, "training.warmup": 3}
    changed = search_space.apply(toy, parameters)
    assert search_space.values(changed, parameters) == parameters
    assert (toy.epochs, toy.training.warmup) == (4, 5)
    assert changed.weight == toy.weight
    assert (search_space.strength(toy), search_space.strength(changed)) == (1e-3, 0.01)
    with pytest.raises(UserError, match="epochs"):
        search_space.apply(toy, {"epochs": 99})
    with pytest.raises(UserError, match="did you mean warmup"):
        search_space.apply(toy, {"training.warmpu": 1})


def test_a_repair_without_a_declared_strength_has_none() -> None:
    class Plain(Repair):
        name: ClassVar[str] = "plain"

    assert search_space.strength(Plain()) is None
    assert search_space.ranges(Plain) == {}
