"""SSL-only cleaning: the in-modal term of CleanCLIP without the CLIP loss.

Verma et al. 2025, arXiv 2311.14948, section 4 (cleaning loss SSL).
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import Field

from benchmark.objectives.ssl import SSL
from benchmark.types import Card, Range, Repair, RepairContext, Training


class SSLOnly(Repair):
    """Fine-tunes with the in-modal self-supervised loss alone."""

    name: ClassVar[str] = "ssl-only"
    strength: ClassVar[str | None] = "learning_rate"
    card: ClassVar[Card] = Card(
        title="SSL-only cleaning",
        citation="arXiv:2311.14948",
        access="weights",
        needs=frozenset({"clean_pairs"}),
        external=("text augmentation (EDA)",),
        summary="In-modal self-supervision on the clean pairs.",
    )

    learning_rate: Annotated[float, Field(ge=0), Range(1e-6, 1e-3, log=True)] = 1e-5
    epochs: Annotated[int, Field(ge=1)] = 10
    batch_size: Annotated[int, Field(ge=2)] = 64
    warmup_steps: Annotated[int, Field(ge=0)] = 50

    def repair(self, model: Any, ctx: RepairContext) -> Any:
        """Returns the cleaned copy."""
        training = Training(
            epochs=self.epochs,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            warmup_steps=self.warmup_steps,
        )
        return ctx.fit(model, ctx.clean_pairs, SSL(), training)
