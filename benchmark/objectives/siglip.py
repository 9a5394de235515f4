"""SigLIP: every image-caption pair of the batch is its own question, answered by a sigmoid.

Zhai et al.: Sigmoid Loss for Language Image Pre-Training, ICCV 2023, arXiv 2303.15343, section 3.2, algorithm 1.
Differs: temperature and bias are the objective's own parameters; the model's logit scale is left as it was built, so
that a zero-shot head, which the scale cannot change, and a later fine-tuning start from CLIP's. Batch, optimizer and
its betas are the training's (the paper: beta2 of 0.95).
Reference code: github.com/mlfoundations/open_clip, SigLipLoss of the installed package, in the tests.
"""

from __future__ import annotations

import math
from typing import Annotated, ClassVar

from pydantic import Field

from benchmark.types import Card, Features, Loss, Objective, Positive, State

BIBTEX = """
@inproceedings{zhai2023sigmoid,
  title = {Sigmoid Loss for Language Image Pre-Training},
  author = {Zhai, Xiaohua and Mustafa, Basil and Kolesnikov, Alexander and Beyer, Lucas},
  booktitle = {IEEE/CVF International Conference on Computer Vision (ICCV)},
  year = {2023}, eprint = {2303.15343}, archiveprefix = {arXiv},
}
"""


class SigLIP(Objective):
    """The pairwise sigmoid loss with a learnt temperature and bias."""

    name: ClassVar[str] = "siglip"
    card: ClassVar[Card] = Card(
        title="SigLIP",
        citation="arXiv:2303.15343",
        bibtex=BIBTEX,
        access="training",
        summary="Pairwise sigmoid loss over all pairs of the global batch, with a learnt temperature and bias.",
    )

    temperature: Annotated[Positive, Field(description="to start from; its logarithm is learnt")] = 10.0
    bias: Annotated[float, Field(description="to start from; offsets that nearly all pairs are negatives")] = -10.0

    def initial_parameters(self, *, embed_dim: int, seed: int) -> State:
        """Log-temperature t' and bias b, () each."""
        import torch

        return {"log_temperature": torch.tensor(math.log(self.temperature)), "logit_bias": torch.tensor(self.bias)}

    def loss(self, features: Features, state: State) -> Loss:
        """Minus the log-likelihood of all (G, G) answers, summed per image, averaged over the batch."""
        import torch
        from torch.nn import functional

        assert features.image is not None and features.text is not None
        scale = features.parameters["log_temperature"].exp()
        logits = scale * features.image @ features.text.T + features.parameters["logit_bias"]
        signs = 2 * torch.eye(len(logits), device=logits.device) - 1
        total = -functional.logsigmoid(signs * logits).sum(1).mean()
        return Loss(total, {"siglip": total}, state)
