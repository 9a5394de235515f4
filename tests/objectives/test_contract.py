"""Objectives keep their contract in the variants that are not their defaults, which test_check tries."""

from __future__ import annotations

from typing import Any

import pytest

from benchmark.objectives.abl import ABL
from benchmark.objectives.roclip import RoCLIP
from benchmark.objectives.safeclip import SafeCLIP
from benchmark.testing.check import check_method
from benchmark.types import Objective

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("cls", "fields"),
    [
        (SafeCLIP, {"variant": "as_released"}),
        (RoCLIP, {"bank_size": 64}),
        (ABL, {"score": "cosine"}),
        (ABL, {"variant": "as_intended"}),
    ],
    ids=str,
)
def test_contract(cls: type[Objective], fields: dict[str, Any]) -> None:
    assert [item for item in check_method(cls, fields) if not item.ok] == []
