"""A model of which a training moves the two projections alone, into the space that images and captions share."""

from __future__ import annotations

import re

from benchmark.models.clip import ClipModel

# CLIP's own ViT, its ResNet's pooling, towers of timm; text towers of open_clip and of Hugging Face
_PROJECTION = re.compile(r"visual\.(proj|attnpool\.c_proj\.\w+|head\..+)|text_projection(\.\w+)?|text\.proj\..+")


def is_projection(name: str) -> bool:
    """Whether a parameter of a network is part of the last linear map of one of its towers."""
    return _PROJECTION.fullmatch(name) is not None


class ProjectionsOnly(ClipModel):
    """A copy of a model whose other weights are frozen, statistics of norms too: it is always in evaluation mode."""

    def __init__(self, model: ClipModel) -> None:
        copy = model.clone()
        super().__init__(copy.spec, copy.network, copy.tokenize)
        self.adapters = copy.adapters
        for name, parameter in self.network.named_parameters():
            parameter.requires_grad_(is_projection(name))
        self.train()

    def train(self, mode: bool = True) -> ClipModel:
        """Stays in evaluation mode, in which a linear map is trained as in any other; returns itself."""
        return super().train(False)
