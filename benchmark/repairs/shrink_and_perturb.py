"""Shrink-and-perturb: pull all weights towards zero, add a little noise, then clean with CleanCLIP.

Ash and Adams, NeurIPS 2020, arXiv 1910.08475, section 3, used as a cleaning method by Verma et al., TMLR 2025, arXiv
2311.14948: theta <- 0.95 theta + 1e-4 noise, then MMCL+SSL for 20 epochs at 1e-4, batch 64. Every parameter is
shrunk, gains, biases and the logit scale too; running statistics stay.
Differs: the noise is N(0, 1), as Ash and Adams write it; the released cleaning code adds 1e-4 times the parameters of
a newly initialised network instead, whose spread is smaller still for matrices (about 0.02) and whose norm gains are
1. Variants "as_intended" and "as_released" are those of CleanCLIP (fresh or inherited Adam state, …).
Reference code: github.com/vsahil/attack-cleanclip at 3d4bd74 (src/main.py, README.md).
"""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from benchmark.repairs.cleanclip import CleanCLIP
from benchmark.types import Card, Model, Range, Rate, RepairContext
from benchmark.types.sources import RELEASED, VERMA

BIBTEX = """
@inproceedings{ash2020warm,
  title = {On Warm-Starting Neural Network Training},
  author = {Ash, Jordan T. and Adams, Ryan P.},
  booktitle = {Advances in Neural Information Processing Systems (NeurIPS)},
  year = {2020}, eprint = {1910.08475}, archiveprefix = {arXiv},
}
"""


def shrunk(model: Model, shrink: float, noise: float, ctx: RepairContext) -> Model:
    """A copy with parameters `shrink * theta + noise * N(0, 1)`."""
    import torch

    copy = model.clone()
    with torch.no_grad():
        for parameter in copy.network.parameters():
            drawn = torch.randn(parameter.shape, generator=ctx.generator).to(parameter.device)
            parameter.mul_(shrink).add_(drawn, alpha=noise)
    return copy


class ShrinkAndPerturb(CleanCLIP):
    """Shrinks, perturbs and fine-tunes; stronger as `shrink` falls."""

    name: ClassVar[str] = "shrink-and-perturb"
    card: ClassVar[Card] = Card(
        title="Shrink and perturb",
        citation="arXiv:1910.08475",
        bibtex=BIBTEX + VERMA,
        access="weights",
        needs=CleanCLIP.card.needs,
        external=CleanCLIP.card.external,
        summary="Weights shrunk by 5 % and perturbed, then CleanCLIP.",
        differs=(RELEASED,),
    )

    shrink: Annotated[Rate, Range(0.5, 1.0)] = 0.95
    noise: Annotated[float, Field(ge=0, description="standard deviation"), Range(1e-5, 1e-2, log=True)] = 1e-4
    learning_rate: Annotated[float, Field(ge=0, description="peak"), Range(1e-6, 1e-3, log=True)] = 1e-4
    epochs: Annotated[int, Field(ge=1)] = 20

    def repair(self, model: Model, ctx: RepairContext) -> Model:
        """Returns the cleaned copy."""
        return super().repair(shrunk(model, self.shrink, self.noise, ctx), ctx)
