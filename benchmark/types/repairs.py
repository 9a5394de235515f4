"""Repairs: from a suspect model to a repaired one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

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

    num_clean_pairs: Annotated[
        int | None, Field(ge=2, description="of the clean split, drawn at random; None: all of them")
    ] = None
    num_poisons_left: Annotated[
        int, Field(ge=0, description="clean pairs that are poisoned as the pre-training pairs were: an overlooked rest")
    ] = 0

    def repair(self, model: Model, ctx: RepairContext) -> Model:
        """Returns the repaired model; the input is never modified."""
        raise NotImplementedError(f"{type(self).__name__} must define `repair`")
