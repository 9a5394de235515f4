"""What several tests share: a handful of random pairs, tiny models, and tensors to compare."""

from __future__ import annotations

import numpy as np
import torch

from benchmark.config.spec import ModelSpec
from benchmark.data.pools import CachedPool
from benchmark.models.clip import ClipModel, build

WORDS = ("red", "blue", "small", "large", "circle", "square", "star", "ring", "left", "right", "photo", "drawing")


def pairs(count: int = 48, *, size: int = 32, seed: int = 0) -> CachedPool:
    """Random images of `size` pixels with captions of four words."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (count, size, size, 3), dtype=np.uint8)
    captions = [" ".join(rng.choice(WORDS, 4)) for _ in range(count)]
    return CachedPool(images, captions, rng.integers(0, 3, count))


def model(name: str = "tiny-resnet", seed: int = 0) -> ClipModel:
    """A fresh tiny model."""
    return build(ModelSpec(name=name), seed=seed)


def tensors(found: ClipModel) -> dict[str, torch.Tensor]:
    """Contiguous copies of a model's weights and buffers."""
    return {
        name: value.detach().clone(memory_format=torch.contiguous_format)
        for name, value in found.network.state_dict().items()
    }


def differing(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> list[str]:
    """Names of tensors that are not equal bit for bit."""
    assert first.keys() == second.keys()
    return [name for name in first if not torch.equal(first[name], second[name])]


def largest_gap(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> float:
    """Largest absolute difference of any value."""
    assert first.keys() == second.keys()
    return max(float((first[name].double() - second[name].double()).abs().max()) for name in first)


def distance(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> float:
    """Euclidean distance over all weights; statistics of BatchNorm are left out."""
    assert first.keys() == second.keys()
    names = [name for name in first if "running_" not in name and not name.endswith("num_batches_tracked")]
    return sum(float((first[name].double() - second[name].double()).square().sum()) for name in names) ** 0.5
