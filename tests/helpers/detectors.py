"""What tests of detectors share: embeddings, and as much of a context as they ask for."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, ClassVar

import torch

from benchmark.types import PairFeatures


def fake(image: torch.Tensor, text: torch.Tensor | None = None, *, seed: int = 0) -> Any:
    """As much of a context as a filter asks for."""
    features = PairFeatures(image, image if text is None else text)

    def given(model: Any, pool: Any, *, normalised: bool = True) -> PairFeatures:
        if not normalised:
            return features
        return PairFeatures(*(torch.nn.functional.normalize(part, dim=1) for part in features))

    generator = torch.Generator().manual_seed(seed)
    return SimpleNamespace(suspect_pairs=None, features=given, generator=generator)


def points(
    count: int = 150, size: int = 24, *, seed: int = 0, offset: float = 3.0, duplicate: bool = True
) -> torch.Tensor:
    """Embeddings with a duplicate and a group that lies very close together, far from the origin."""
    generator = torch.Generator().manual_seed(seed)
    found = torch.randn(count, size, generator=generator) + offset
    if duplicate:
        found[50] = found[10]
    found[60:75] = found[20] + 1e-4 * torch.randn(15, size, generator=generator)
    return found


class Linear:
    """A model whose embedding is the mean colour of the normalised image, and a context around it."""

    mean: ClassVar[torch.Tensor] = torch.tensor([0.5, 0.25, 0.125])
    std: ClassVar[torch.Tensor] = torch.tensor([0.5, 0.25, 0.2])

    def encode_images(self, model: Any, images: torch.Tensor) -> torch.Tensor:
        return ((images - self.mean.view(3, 1, 1)) / self.std.view(3, 1, 1)).mean((2, 3))
