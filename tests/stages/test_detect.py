"""What a detector gives: a score for each, or a finding about a class; anything else is a failure, and no table."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from benchmark.stages.work.detect import one_each, sound
from benchmark.types import Finding

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (torch.zeros(2), r"got \(2,\)"),
        (torch.zeros(4), r"got \(4,\)"),
        (torch.zeros(3, 1), r"got \(3, 1\)"),
        ([0.1, 0.2, 0.3], "got list"),
        (None, "got NoneType"),
    ],
)
def test_scores_that_are_not_one_for_each_are_a_failure(given: Any, told: str) -> None:
    scores = torch.zeros(3)
    assert one_each(scores, 3) is scores
    with pytest.raises(ValueError, match=rf"must give a tensor of shape \(3,\), {told}"):
        one_each(given, 3)


def test_a_finding_names_a_class_and_gives_its_reason_in_one_line() -> None:
    assert sound(Finding(0.4, True, 2, reason="a\n b"), num_classes=3).reason == "a b"
    assert sound(Finding(0.4, False, None), num_classes=3).target is None
    for given, told in ((0.5, "must give a Finding, got float"), (Finding(0.4, True, 3), "a class below 3, got 3")):
        with pytest.raises(ValueError, match=told):
            sound(given, num_classes=3)
