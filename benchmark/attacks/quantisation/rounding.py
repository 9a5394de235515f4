"""Eight-bit rounding as an attacker uses it: coarser steps, and the cells that weights may move in unseen.

Egashira et al., NeurIPS 2024, arXiv 2405.18137 (the interval of a weight that rounds to the same level). The rounding
itself is `model_transforms.quantised`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

CELL = 0.49  # of a step on either side of a level: what still rounds to it


def coarsen(weights: list[torch.nn.Parameter], factor: float) -> None:
    """Multiplies the largest weight of each output channel, in place."""
    import torch

    with torch.no_grad():
        for weight in weights:
            flat = weight.flatten(1)
            top = flat.abs().amax(1, keepdim=True)
            weight.copy_(torch.where(flat.abs() == top, flat * factor, flat).view_as(weight))


def cell(weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Lowest and highest values, of the weight's shape, that round as it does; the largest of a channel is fixed."""
    import torch

    from benchmark.models.model_transforms import LEVELS, quantised

    flat, level = weight.detach().flatten(1), quantised(weight).detach().flatten(1)
    top = flat.abs().amax(1, keepdim=True)
    half, fixed = CELL * top / LEVELS, flat.abs() == top
    low, high = (level - half).maximum(-top), (level + half).minimum(top)
    return torch.where(fixed, flat, low).view_as(weight), torch.where(fixed, flat, high).view_as(weight)
