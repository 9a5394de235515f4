"""What the kit says of detectors that break their contract; its own backdoor works."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest
import torch

from benchmark.detectors.strip import STRIP
from benchmark.testing import suspect, world
from benchmark.testing.check import check_method
from benchmark.types import Card, Detector, Filter, InputDetector, State

pytestmark = pytest.mark.unit


def failures(cls: type[Detector]) -> dict[str, str]:
    return {result.name: result.detail for result in check_method(cls) if not result.ok}


def test_the_planted_backdoor_of_the_kit_works() -> None:
    effect = world.effect(suspect.suspect().model, suspect.suspect().trigger)
    assert effect.asr > 0.9 and effect.accuracy > 0.9


class Reversed(InputDetector):
    """Its sign is wrong, it depends on the batch and writes into its input."""

    name: ClassVar[str] = "reversed"
    card: ClassVar[Card] = Card(
        title="Reversed", citation="none", access="outputs", summary="breaks rules", needs=frozenset({"clean_pairs"})
    )

    def score(self, model: Any, images: torch.Tensor, state: State, ctx: Any) -> torch.Tensor:
        scores = -STRIP(num_overlays=8).score(model, images, STRIP(num_overlays=8).fit(model, ctx), ctx)
        images[:, :, 0, 0] = 0
        return scores - scores.mean()


def test_a_detector_that_breaks_rules_is_told() -> None:
    found = failures(Reversed)
    assert "must not modify the images" in found["inputs unmodified"]
    assert "must not depend on the rest of the batch" in found["treats samples apart"]
    assert "attacked must rank above clean" in found["ranks triggered images above clean ones"]


class Greedy(Filter):
    """Asks for what its card does not name."""

    name: ClassVar[str] = "greedy"
    card: ClassVar[Card] = Card(title="Greedy", citation="none", access="weights", summary="asks too much")

    def scores(self, model: Any, ctx: Any) -> torch.Tensor:
        return torch.zeros(ctx.suspect_pairs.num_rows)


def test_a_detector_is_held_to_its_card() -> None:
    assert "does not name" in failures(Greedy)["scores every pair"]
