"""A repair that never comes back at some of its settings, as one that waits for a lock or a server does."""

from __future__ import annotations

import time
from typing import Annotated, Any, ClassVar

from pydantic import Field

from benchmark.types import Card, Range, Repair, RepairContext


class Hanging(Repair):
    """Hangs above a half."""

    name: ClassVar[str] = "hanging"
    card: ClassVar[Card] = Card(
        title="Hanging", citation="arXiv:0000.00000", access="weights", needs=frozenset(), summary="Hangs."
    )

    share: Annotated[float, Field(ge=0, le=1), Range(0.0, 1.0)] = 0.25

    def repair(self, model: Any, ctx: RepairContext) -> Any:
        """Returns the model as it is, or does not return."""
        if self.share > 0.5:
            time.sleep(3600)
        ctx.report(1, model)
        return model
