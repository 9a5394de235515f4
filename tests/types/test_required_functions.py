"""A method that lacks the one function of its kind is told which: `check` has nothing else to show."""

from __future__ import annotations

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
    mine = type("Mine", (kind,), {}).model_construct()
    call = getattr(mine, function)
    given: dict[str, dict[str, Any]] = {"open": {"image_size": 32}, "measure": {"target": None}}
    words = {"open": 0, "measure": 1, "score": 4}.get(function, 2)
    with pytest.raises(NotImplementedError, match=f"^Mine must define `{function}`$"):
        call(*[None] * words, **given.get(function, {}))
