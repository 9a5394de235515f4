"""Rebound: benign fine-tuning of a repaired model, and what is measured along it; one more part of the protocol."""

from __future__ import annotations

from collections.abc import Hashable
from itertools import pairwise
from typing import Annotated, Literal, TypeVar

from pydantic import Field, field_validator

from benchmark.types import Count, Frozen, Positive

Scope = Literal["full", "projection"]
T = TypeVar("T", bound=Hashable)


class Rebound(Frozen):
    """How repaired models are fine-tuned on clean pairs, after how many steps they are measured, and which ones.

    None of it is part of a record, or of any key but those of the trajectories.
    """

    steps: Annotated[
        tuple[Annotated[int, Field(ge=0)], ...],
        Field(min_length=2, description="of the fine-tuning, after which a model is measured; from 0 on, rising"),
    ] = (0, 5, 10, 20, 50, 100, 200, 300)
    learning_rates: Annotated[
        tuple[Positive, ...] | None,
        Field(min_length=1, description="each a trajectory; null: that of the suite's fine-tuning, and a tenth of it"),
    ] = None
    batch_size: Annotated[int, Field(ge=2)] = 64
    rows: Annotated[
        int | None, Field(ge=2, description="pairs of the clean split, drawn at random; null: all that are left")
    ] = None
    without_target: Annotated[
        bool, Field(description="leave out the pairs of the target class, and those whose caption has its name")
    ] = True
    scopes: Annotated[
        tuple[Scope, ...], Field(min_length=1, description="which weights move: all, or the two projections alone")
    ] = ("full", "projection")
    selections: Annotated[
        tuple[Literal["default", "oracle", "trigger_blind"], ...],
        Field(min_length=1, description="rules whose weights are fine-tuned"),
    ] = ("default", "oracle")
    seeds: Annotated[Count | None, Field(description="the suite's first so many; null: all")] = None

    @field_validator("steps")
    @classmethod
    def _rising(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if value[0] or any(before >= after for before, after in pairwise(value)):
            raise ValueError("0 first, then rising: what the repair left is where the curve begins")
        return value

    @field_validator("learning_rates", "scopes", "selections")
    @classmethod
    def _distinct(cls, value: tuple[T, ...] | None) -> tuple[T, ...] | None:
        if value and len(set(value)) < len(value):
            raise ValueError("distinct: equal ones give equal trajectories")
        return value
