"""Randomness that is a function of (seed, sample id): counter-based, vectorised, the same on every worker."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def _mix(values: np.ndarray) -> np.ndarray:
    """SplitMix64's finaliser (Steele et al. 2014) on uint64 arrays."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def hashed_uniform(seed: int, ids: np.ndarray | torch.Tensor, count: int) -> torch.Tensor:
    """Draws `count` uniforms for each sample id.

    Args:
        seed: the stream; derive it with `derive_seed`.
        ids: (B,) integer sample ids.
        count: how many numbers each sample gets.

    Returns:
        (B, count) float32 in [0, 1), equal for equal (seed, id) whatever else is in the batch.
    """
    import torch

    rows = np.asarray(ids).astype(np.uint64)
    with np.errstate(over="ignore"):
        start = _mix(_mix(rows + _GOLDEN) ^ np.uint64(seed & 0xFFFFFFFFFFFFFFFF))
        steps = np.arange(1, count + 1, dtype=np.uint64) * _GOLDEN
        bits = _mix(start[:, None] + steps[None, :])
    return torch.from_numpy((bits >> np.uint64(40)).astype(np.float32) / np.float32(1 << 24))


def generator(seed: int) -> torch.Generator:
    """A CPU generator for one derived seed."""
    import torch

    return torch.Generator().manual_seed(seed % (1 << 63))
