"""MMCL fine-tuning: the CLIP loss on clean pairs, the naive baseline and control of every repair.

Bansal et al. 2023, arXiv 2303.03323, section 5; Verma et al. 2025, arXiv 2311.14948, section 4.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from benchmark.objectives.mmcl import MMCL
from benchmark.types import Card, Model, Objective, Range, Repair, RepairContext, Training
from benchmark.types.sources import CLEANCLIP


class CleanTraining(Repair):
    """Fine-tunes with `objective`; stronger as the learning rate grows. A base: only what names itself is a method."""

    objective: ClassVar[Objective]
    strength: ClassVar[str | None] = "learning_rate"
    whole_batches: ClassVar[bool] = True

    learning_rate: Annotated[float, Field(ge=0), Range(1e-6, 1e-3, log=True)] = 1e-5
    epochs: Annotated[int, Field(ge=1)] = 10
    batch_size: Annotated[int, Field(ge=2)] = 64
    warmup_steps: Annotated[int, Field(ge=0)] = 50

    def repair(self, model: Model, ctx: RepairContext) -> Model:
        """Returns the fine-tuned copy."""
        training = Training(
            epochs=self.epochs,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            warmup_steps=self.warmup_steps,
        )
        return ctx.fit(model, ctx.clean_pairs, self.objective, training)


class FineTuning(CleanTraining):
    """Fine-tunes with the CLIP loss alone."""

    name: ClassVar[str] = "fine-tuning"
    objective: ClassVar[Objective] = MMCL()
    card: ClassVar[Card] = Card(
        title="MMCL fine-tuning",
        citation="arXiv:2303.03323",
        bibtex=CLEANCLIP,
        access="weights",
        needs=frozenset({"clean_pairs"}),
        summary="CLIP loss on the clean pairs.",
        control="What a repair adds to mere fine-tuning on the defender's clean pairs is its distance from this row.",
    )
