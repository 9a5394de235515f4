"""Heavy weight decay: CleanCLIP with a decay so strong that what the clean pairs do not keep alive fades.

Verma et al., TMLR 2025, arXiv 2311.14948 (cleaning with heavy regularisation): decays 0.2, 0.5, 1, 2, 5, 10, 20, 50
and 100 with MMCL+SSL cleaning, 20 epochs, batch 64. The published sweep likely never applied them: the released code
builds AdamW with the decay asked for, then loads the poisoned run's optimiser state over it, and with that state come
the parameter groups and *their* decay. Only the learning rate is set again after that.
Differs: variant "as_intended" (the default) starts AdamW afresh, so that each step really multiplies the matrices by
1 - learning rate x decay; norms, biases and the logit scale are exempt. Variant "as_released" inherits the state, and
the decay is without effect. The default decay is ours, as no value of the sweep is singled out.
Reference code: github.com/vsahil/attack-cleanclip at 3d4bd74 (src/main.py, run_cleaning_experiments.py).
"""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from benchmark.repairs.cleanclip import CleanCLIP
from benchmark.types import Card, Range
from benchmark.types.sources import RELEASED, VERMA


class HeavyWeightDecay(CleanCLIP):
    """CleanCLIP under a heavy decay; stronger as the decay grows."""

    name: ClassVar[str] = "heavy-weight-decay"
    strength: ClassVar[str | None] = "weight_decay"
    card: ClassVar[Card] = Card(
        title="Heavy weight decay",
        citation="arXiv:2311.14948",
        bibtex=VERMA,
        access="weights",
        needs=CleanCLIP.card.needs,
        external=CleanCLIP.card.external,
        summary="CleanCLIP whose AdamW shrinks every matrix hard at every step.",
        differs=(RELEASED,),
    )

    learning_rate: Annotated[float, Field(ge=0, description="peak"), Range(1e-5, 1e-3, log=True)] = 1e-4
    weight_decay: Annotated[float, Field(ge=0, description="AdamW's"), Range(0.2, 100, log=True)] = 1.0
    epochs: Annotated[int, Field(ge=1)] = 20
