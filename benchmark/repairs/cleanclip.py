"""CleanCLIP: fine-tuning on clean pairs with the CLIP loss and in-modal self-supervision.

Bansal et al., ICCV 2023, arXiv 2303.03323, section 4.2, equation 4; hyper-parameters of section 5.
Differs: variant "as_intended" (the default) starts with a fresh optimiser, really warms up, and draws text
augmentations anew each epoch. Variant "as_released" does what the released code does: it inherits the poisoned run's
Adam state together with its weight decay and betas, its schedule starts one epoch late, so that a warm-up of one epoch
or less never happens, and captions are augmented once for all epochs. Which parameters decay is the benchmark's choice
under both (see `training.optimizer.adamw`).
Reference code: github.com/nishadsinghi/CleanCLIP at d6e2f1d (main.py, src/scheduler.py, utils/augment_text.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from benchmark.objectives.mmcl_ssl import MMCLSSL
from benchmark.types import Card, Model, Need, Range, Repair, RepairContext, Training
from benchmark.types.sources import CLEANCLIP, RELEASED


class CleanCLIP(Repair):
    """Fine-tunes with MMCL + SSL; stronger as the learning rate grows."""

    name: ClassVar[str] = "cleanclip"
    value_versions: ClassVar[Mapping[str, int]] = {"variant=as_released": 2}  # with the schedule of that name
    strength: ClassVar[str | None] = "learning_rate"
    whole_batches: ClassVar[bool] = True
    card: ClassVar[Card] = Card(
        title="CleanCLIP",
        citation="arXiv:2303.03323",
        bibtex=CLEANCLIP,
        access="weights",
        needs=frozenset({"clean_pairs", "optimizer_state"}),
        external=("text augmentation (EDA)",),
        summary="CLIP loss plus in-modal self-supervision on the clean pairs.",
        differs=(RELEASED,),
    )

    learning_rate: Annotated[float, Field(ge=0, description="peak"), Range(1e-6, 1e-3, log=True)] = 1e-5
    ssl_weight: Annotated[float, Field(ge=0, description="weight of the in-modal term"), Range(0.5, 8, log=True)] = 1.0
    mmcl_weight: Annotated[float, Field(ge=0)] = 1.0
    epochs: Annotated[int, Field(ge=1)] = 10
    batch_size: Annotated[int, Field(ge=2)] = 64
    warmup_steps: Annotated[int, Field(ge=0)] = 50
    weight_decay: Annotated[float, Field(ge=0)] = 0.1
    variant: Literal["as_intended", "as_released"] = "as_intended"

    @property
    def needs(self) -> frozenset[Need]:
        """The optimiser state of pre-training in "as_released" alone."""
        return self.card.needs if self.variant == "as_released" else self.card.needs - {"optimizer_state"}

    def repair(self, model: Model, ctx: RepairContext) -> Model:
        """Returns the cleaned copy."""
        released = self.variant == "as_released"
        training = Training(
            epochs=self.epochs,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            warmup_steps=self.warmup_steps,
            weight_decay=self.weight_decay,
            schedule="as_released" if released else "cosine",
            text_augmentation="frozen" if released else "per_epoch",
            optimizer_state="inherit" if released else "fresh",
        )
        objective = MMCLSSL(mmcl_weight=self.mmcl_weight, ssl_weight=self.ssl_weight)
        return ctx.fit(model, ctx.clean_pairs, objective, training)
