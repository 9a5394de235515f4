"""Repairs: from a suspect model to a repaired one."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from benchmark.types.base import Method

if TYPE_CHECKING:
    from benchmark.types.contexts import RepairContext
    from benchmark.types.models import Model


class Repair(Method):
    """A repair of a suspect model. `strength` names the field that makes it stronger, if one does."""

    kind: ClassVar[str] = "repair"
    strength: ClassVar[str | None] = None
    # Whether `batch_size` goes to `ctx.fit`, which refuses fewer clean pairs than one batch; asked before a run.
    whole_batches: ClassVar[bool] = False

    def repair(self, model: Model, ctx: RepairContext) -> Model:
        """Returns the repaired model; the input is never modified."""
        raise NotImplementedError(f"{type(self).__name__} must define `repair`")
