"""What the kit says of detectors that break their contract; its own backdoor works."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import pytest
import torch

from benchmark.detectors.strip import STRIP
from benchmark.testing import suspect, world
from benchmark.testing.check import check_method
from benchmark.types import Card, Detector, Filter, InputDetector, State

pytestmark = pytest.mark.unit


def failures(cls: type[Detector], **fields: Any) -> dict[str, str]:
    return {result.name: result.detail for result in check_method(cls, fields) if not result.ok}


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


class Meddling(Filter):
    """Leaves a mark on what it is handed."""

    name: ClassVar[str] = "meddling"
    card: ClassVar[Card] = Greedy.card.model_copy(update={"needs": frozenset({"suspect_pairs"})})

    mark: Literal["weights", "mode", "gradients", "generator"] = "weights"

    def scores(self, model: Any, ctx: Any) -> torch.Tensor:
        weight = next(model.network.parameters())
        match self.mark:
            case "weights":
                weight.add_(1)
            case "mode":
                model.train()
            case "gradients":
                weight.grad = torch.zeros_like(weight)
            case "generator":
                torch.rand(())
        return torch.zeros(ctx.suspect_pairs.num_rows)


@pytest.mark.parametrize(
    ("mark", "check", "told"),
    [
        ("weights", "model unmodified", "must not modify the model"),
        ("mode", "model unmodified", "must leave the model in evaluation mode"),
        ("gradients", "model unmodified", "must leave no gradients behind"),
        ("generator", "global generator untouched", "must draw from ctx.generator, not the global one"),
    ],
)
def test_a_detector_that_leaves_a_mark_is_told(mark: str, check: str, told: str) -> None:
    found = failures(Meddling, mark=mark)
    assert told in found[check]
    assert len({"model unmodified", "global generator untouched"} & set(found)) == 1
