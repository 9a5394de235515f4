"""BatchNorm-only: the data loop of a repair at learning rate 0, so that only running statistics move. A control.

Verma et al.'s released results (arXiv 2311.14948) change at learning rates where no weight can: the running
statistics are re-estimated in training mode. What this control changes is not the repair's merit.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from benchmark.objectives.mmcl import MMCL
from benchmark.types import Card, Model, Repair, RepairContext, Training
from benchmark.types.sources import VERMA


class BatchNormOnly(Repair):
    """Re-estimates BatchNorm statistics on the clean pairs; a model without BatchNorm comes back as it was."""

    name: ClassVar[str] = "batch-norm-only"
    whole_batches: ClassVar[bool] = True
    card: ClassVar[Card] = Card(
        title="BatchNorm only",
        citation="arXiv:2311.14948",
        bibtex=VERMA,
        access="weights",
        needs=frozenset({"clean_pairs"}),
        summary="Learning rate 0, BatchNorm in training mode.",
        control=(
            "No weight moves, only BatchNorm's running statistics are re-estimated on clean pairs. "
            "Whatever changes here is not the work of a repair."
        ),
    )

    epochs: Annotated[int, Field(ge=1)] = 1
    batch_size: Annotated[int, Field(ge=2)] = 64

    def repair(self, model: Model, ctx: RepairContext) -> Model:
        """Returns a copy with fresh running statistics."""
        training = Training(epochs=self.epochs, batch_size=self.batch_size, learning_rate=0.0, warmup_steps=0)
        return ctx.fit(model, ctx.clean_pairs, MMCL(), training)
