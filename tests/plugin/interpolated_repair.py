"""A repair in one outside file: fine-tune, then walk past the fine-tuned weights (or stop half way).

Wortsman et al. 2022, arXiv 2109.01903 (WiSE-FT) interpolate between two models; a step above 1 extrapolates.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field

from benchmark.objectives.mmcl import MMCL
from benchmark.types import Card, Range, Repair, RepairContext, Training


class Interpolated(Repair):
    """`start + step * (fine-tuned - start)`, for every weight."""

    name: ClassVar[str] = "interpolated"
    strength: ClassVar[str | None] = "step"
    card: ClassVar[Card] = Card(
        title="Weight interpolation",
        citation="arXiv:2109.01903",
        access="weights",
        needs=frozenset({"clean_pairs"}),
        summary="Moves along the line from the suspect model to its fine-tuned copy.",
    )

    step: Annotated[float, Field(ge=0, le=4), Range(0.25, 2.0)] = 1.5
    learning_rate: Annotated[float, Field(ge=0)] = 1e-3
    epochs: Annotated[int, Field(ge=1)] = 2

    def repair(self, model: Any, ctx: RepairContext) -> Any:
        """Returns the model on the line."""
        training = Training(epochs=self.epochs, batch_size=64, learning_rate=self.learning_rate, warmup_steps=4)
        tuned = ctx.fit(model, ctx.clean_pairs, MMCL(), training)
        with torch.no_grad():
            for end, start in zip(tuned.network.parameters(), model.network.parameters(), strict=True):
                end.copy_(start.lerp(end, self.step))
        ctx.report(self.epochs + 1, tuned)
        return tuned
