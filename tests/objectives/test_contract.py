"""Objectives keep the contract of their kind, also with fields away from their defaults."""

from __future__ import annotations

from typing import Any

import pytest

from benchmark.objectives.abl import ABL
from benchmark.objectives.roclip import RoCLIP
from benchmark.objectives.safeclip import SafeCLIP
from benchmark.objectives.siglip import SigLIP
from benchmark.testing.check import check_method
from benchmark.types import Objective

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("cls", "fields"),
    [
        (SafeCLIP, {}),
        (SafeCLIP, {"variant": "as_released"}),
        (RoCLIP, {"bank_size": 64}),
        (ABL, {"score": "cosine"}),
        (ABL, {"variant": "as_intended"}),
        (SigLIP, {}),
    ],
    ids=str,
)
def test_contract(cls: type[Objective], fields: dict[str, Any]) -> None:
    assert [item for item in check_method(cls, fields) if not item.ok] == []
