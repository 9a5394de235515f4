"""MMCL, the CLIP loss: each image picks its caption among the batch's captions, and the other way round.

Radford et al. 2021, arXiv 2103.00020, figure 3. Features of all workers form one global batch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from benchmark.types import Card, Features, Loss, Objective, State

if TYPE_CHECKING:
    import torch


def contrastive(a: torch.Tensor, b: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """Symmetric InfoNCE of (G, D) and (G, D) normalised embeddings with the diagonal as targets."""
    logits = scale * a @ b.T
    # -log softmax at the diagonal, by rows and by columns, from one set of logits
    return (logits.logsumexp(0) + logits.logsumexp(1)).mean() / 2 - logits.diagonal().mean()


class MMCL(Objective):
    """The multimodal contrastive loss of CLIP."""

    name: ClassVar[str] = "mmcl"
    card: ClassVar[Card] = Card(
        title="Multimodal contrastive loss (CLIP)",
        citation="arXiv:2103.00020",
        access="training",
        summary="Symmetric image-text InfoNCE over the global batch.",
    )

    def loss(self, features: Features, state: State) -> Loss:
        """The CLIP loss on one global batch."""
        assert features.image is not None and features.text is not None
        total = contrastive(features.image, features.text, features.logit_scale)
        return Loss(total, {"mmcl": total}, state)
