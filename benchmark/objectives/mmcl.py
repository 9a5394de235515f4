"""MMCL, the CLIP loss: each image picks its caption among the batch's captions, and the other way round.

Radford et al. 2021, arXiv 2103.00020, figure 3. Features of all workers form one global batch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from benchmark.types import Card, Features, Loss, Objective, State

if TYPE_CHECKING:
    import torch


BIBTEX = """
@inproceedings{radford2021clip,
  title = {Learning Transferable Visual Models From Natural Language Supervision},
  author = {Radford, Alec and Kim, Jong Wook and Hallacy, Chris and Ramesh, Aditya and Goh, Gabriel and Agarwal,
    Sandhini and Sastry, Girish and Askell, Amanda and Mishkin, Pamela and Clark, Jack and Krueger, Gretchen and
    Sutskever, Ilya},
  booktitle = {International Conference on Machine Learning (ICML)},
  year = {2021}, eprint = {2103.00020}, archiveprefix = {arXiv},
}
"""


def contrastive(a: torch.Tensor, b: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """Symmetric InfoNCE of (G, D) and (G, D) normalised embeddings with the diagonal as targets."""
    logits = scale * a @ b.T
    # -log softmax at the diagonal, by rows and by columns, from one set of logits
    return (logits.logsumexp(0) + logits.logsumexp(1)).mean() / 2 - logits.diagonal().mean()


class MMCL(Objective):
    """The multimodal contrastive loss of CLIP."""

    name: ClassVar[str] = "mmcl"
    card: ClassVar[Card] = Card(
        title="MMCL",
        citation="arXiv:2103.00020",
        bibtex=BIBTEX,
        access="training",
        summary="Symmetric image-text InfoNCE over the global batch.",
    )

    def loss(self, features: Features, state: State) -> Loss:
        """The CLIP loss on one global batch."""
        assert features.image is not None and features.text is not None
        total = contrastive(features.image, features.text, features.logit_scale)
        return Loss(total, {"mmcl": total}, state)
