"""In-modal self-supervision: each sample picks its own augmented copy, within images and within captions.

CleanCLIP, Bansal et al., ICCV 2023, arXiv 2303.03323, section 4. The released code has one direction only (original
rows against augmented columns; github.com/nishadsinghi/CleanCLIP at d6e2f1d): variant "one_directional", the default.
"symmetric" adds the other direction.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from benchmark.objectives.mmcl import contrastive
from benchmark.types import Card, Features, Loss, Objective, State, View
from benchmark.types.sources import CLEANCLIP

if TYPE_CHECKING:
    import torch

Direction = Literal["one_directional", "symmetric"]
SSL_VIEWS: frozenset[View] = frozenset({"image", "text", "image_augmented", "text_augmented"})


def picks(a: torch.Tensor, b: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """Rows of (G, D) pick their partner among the columns (G, D)."""
    logits = scale * a @ b.T
    return (logits.logsumexp(1) - logits.diagonal()).mean()


def in_modal(features: Features, direction: Direction) -> torch.Tensor:
    """Mean of the image term and the text term."""
    assert features.image is not None and features.image_augmented is not None
    assert features.text is not None and features.text_augmented is not None
    term = picks if direction == "one_directional" else contrastive
    image = term(features.image, features.image_augmented, features.logit_scale)
    text = term(features.text, features.text_augmented, features.logit_scale)
    return (image + text) / 2


class SSL(Objective):
    """The in-modal self-supervised loss alone."""

    name: ClassVar[str] = "ssl"
    views: ClassVar[frozenset[View]] = SSL_VIEWS
    card: ClassVar[Card] = Card(
        title="SSL",
        citation="arXiv:2303.03323",
        bibtex=CLEANCLIP,
        access="training",
        external=("text augmentation (EDA)",),
        summary="InfoNCE between each sample and its augmented copy, per modality.",
    )

    direction: Direction = "one_directional"

    def loss(self, features: Features, state: State) -> Loss:
        """The in-modal loss on one global batch."""
        total = in_modal(features, self.direction)
        return Loss(total, {"ssl": total}, state)
