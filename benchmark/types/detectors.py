"""Detectors: of poisoned pairs, of triggered inputs, of attacked models. Higher scores are more suspicious, always."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, NamedTuple

from pydantic import Field

from benchmark.types.base import Method, State

if TYPE_CHECKING:
    import torch

    from benchmark.types.contexts import DefenderContext
    from benchmark.types.models import Model


class Detector(Method):
    """Base of the three detectors; `unit` says what is scored.

    `scores`, `fit` and `score` are called without gradients; one that needs them enables them (`torch.enable_grad`).
    """

    kind: ClassVar[str] = "detector"
    unit: ClassVar[Literal["pair", "input", "model"]]


class Filter(Detector):
    """Scores the pairs that the suspect model was trained on; a suite may have the model trained again without them."""

    unit: ClassVar[Literal["pair", "input", "model"]] = "pair"

    remove_rate: Annotated[
        float, Field(gt=0, lt=1, description="share of the pairs, the most suspicious, that retraining leaves out")
    ] = 0.05
    retrain: Annotated[bool, Field(description="pre-train again on what is left, and evaluate that model")] = False

    def scores(self, model: Model, ctx: DefenderContext) -> torch.Tensor:
        """(N,) float32, one per row of `ctx.suspect_pairs`, under the model that was trained on them."""
        raise NotImplementedError(f"{type(self).__name__} must define `scores`")


class InputDetector(Detector):
    """Scores single images at test time."""

    unit: ClassVar[Literal["pair", "input", "model"]] = "input"

    def fit(self, model: Model, ctx: DefenderContext) -> State:
        """What is needed to score, made once per model: prompts' embeddings, overlays, …"""
        return {}

    def score(self, model: Model, images: torch.Tensor, state: State, ctx: DefenderContext) -> torch.Tensor:
        """(B, 3, H, W) float32 in [0, 1] -> (B,) float32; a sample's score does not depend on the rest of the batch."""
        raise NotImplementedError(f"{type(self).__name__} must define `score`")


class Finding(NamedTuple):
    """What a model detector says of one model."""

    score: float
    suspicious: bool  # by the author's own rule
    target: int | None = None  # suspected class index
    trigger: State = {}  # "mask" (1, H, W) and "pattern" (3, H, W) in [0, 1] where one was recovered
    reason: str = ""  # the verdict in words, for people


class ModelDetector(Detector):
    """Scores a model as a whole."""

    unit: ClassVar[Literal["pair", "input", "model"]] = "model"

    def inspect(self, model: Model, ctx: DefenderContext) -> Finding:
        """The verdict on one model."""
        raise NotImplementedError(f"{type(self).__name__} must define `inspect`")
