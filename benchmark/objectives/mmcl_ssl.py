"""MMCL+SSL: the CLIP loss plus in-modal self-supervision, the stronger pre-training objective of the study.

Verma et al., TMLR 2025, arXiv 2311.14948, section 3 (weights 1:1). Also the repair loss of CleanCLIP
(arXiv 2303.03323, equation 4).
"""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from benchmark.objectives.mmcl import contrastive
from benchmark.objectives.ssl import SSL_VIEWS, Direction, in_modal
from benchmark.types import Card, Features, Loss, Objective, State, View
from benchmark.types.sources import VERMA


class MMCLSSL(Objective):
    """`mmcl_weight * MMCL + ssl_weight * SSL`."""

    name: ClassVar[str] = "mmcl-ssl"
    views: ClassVar[frozenset[View]] = SSL_VIEWS
    card: ClassVar[Card] = Card(
        title="MMCL+SSL",
        citation="arXiv:2311.14948",
        bibtex=VERMA,
        access="training",
        external=("text augmentation (EDA)",),
        summary="Image-text InfoNCE plus InfoNCE between each sample and its augmented copy.",
    )

    mmcl_weight: Annotated[float, Field(ge=0)] = 1.0
    ssl_weight: Annotated[float, Field(ge=0)] = 1.0
    direction: Direction = "one_directional"

    def loss(self, features: Features, state: State) -> Loss:
        """The weighted sum on one global batch."""
        assert features.image is not None and features.text is not None
        mmcl = contrastive(features.image, features.text, features.logit_scale)
        ssl = in_modal(features, self.direction)
        return Loss(self.mmcl_weight * mmcl + self.ssl_weight * ssl, {"mmcl": mmcl, "ssl": ssl}, state)
