"""How a model is shown one region of an image: its bounding box, enlarged or left in its place."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def view(image: torch.Tensor, mask: torch.Tensor, kind: str) -> torch.Tensor:
    """(3, H, W) uint8 and a mask (H, W) -> its bounding box, enlarged ("crop"), or alone on the mean colour."""
    import torch
    from torch.nn import functional

    down, across = (torch.nonzero(mask.any(axis)).flatten() for axis in (1, 0))
    box = (slice(None), slice(int(down[0]), int(down[-1]) + 1), slice(int(across[0]), int(across[-1]) + 1))
    if kind == "crop":
        part = image[box].unsqueeze(0).float()
        enlarged = functional.interpolate(part, size=image.shape[1:], mode="bilinear", antialias=True)
        return enlarged[0].round().clamp(0, 255).to(torch.uint8)
    alone = image.float().mean((1, 2), keepdim=True).round().to(torch.uint8).repeat(1, *image.shape[1:])
    alone[box] = image[box]
    return alone
