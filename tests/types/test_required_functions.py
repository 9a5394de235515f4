"""A method that lacks the one function of its kind is told which: `check` has nothing else to show."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from benchmark.types import Dataset, Filter, InputDetector, Metric, ModelAttack, ModelDetector, Objective, Repair

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("kind", "function"),
    [
        (Dataset, "open"),
        (Filter, "scores"),
        (InputDetector, "score"),
        (Metric, "measure"),
        (ModelAttack, "implant"),
        (ModelDetector, "inspect"),
        (Objective, "loss"),
        (Repair, "repair"),
    ],
)
def test_a_function_that_is_missing_is_named_with_its_class(kind: Any, function: str) -> None:
    call = getattr(type("Mine", (kind,), {}).model_construct(), function)
    given = inspect.signature(call).parameters.values()
    words = [None for one in given if one.kind is not one.KEYWORD_ONLY]
    named = {one.name: None for one in given if one.kind is one.KEYWORD_ONLY}
    with pytest.raises(NotImplementedError, match=f"^Mine must define `{function}`$"):
        call(*words, **named)
