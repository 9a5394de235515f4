"""InverTune's first step: the class that images drift to under a universal adversarial patch.

Section and weights of arXiv 2506.12411; what departs from it is said in `repair`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from benchmark.repairs.invertune.inversion import stamped
from benchmark.types import Model, RepairContext

if TYPE_CHECKING:
    import torch

Draw = Callable[[], tuple["torch.Tensor", "torch.Tensor"]]
MARGIN = 14 / 224  # between the patch and the lower right corner, as released, as a share of the side
AHEAD = 0.1  # of its own class by how much another's cosine must be, for an image to have left


def patch_mask(size: int, area: float) -> torch.Tensor:
    """(1, size, size) float32: 1 on a square of that share of the image, near the lower right corner."""
    import torch

    side, margin = max(1, round(size * math.sqrt(area))), round(size * MARGIN)
    place = slice(size - margin - side, size - margin)
    mask = torch.zeros(1, size, size)
    mask[:, place, place] = 1
    return mask


def universal_patch(
    suspect: Model, head: torch.Tensor, draw: Draw, *, mask: torch.Tensor, steps: int, rate: float, ctx: RepairContext
) -> torch.Tensor:
    """Learns one patch that drives images out of their class, wherever they go.

    Args:
        suspect: the model, in evaluation mode and without gradients of its own.
        head: (C, D).
        draw: gives (B, 3, H, W) float32 images in [0, 1], and the (B,) int64 classes that the model takes them for.
        mask: (1, H, W), where the patch lies.
        steps: updates.
        rate: of Adam.
        ctx: encodes, and seeds the patch.

    Returns:
        (3, H, W) float32 in [0, 1].
    """
    import torch

    patch = torch.rand(3, *mask.shape[1:], generator=ctx.generator).to(head.device).requires_grad_()
    optimizer = torch.optim.Adam([patch], lr=rate)
    for _ in range(steps):
        images, own = draw()
        cosine = ctx.encode_images(suspect, stamped(images, mask, patch)) @ head.T
        own = own[:, None].to(head.device)
        best_other = cosine.scatter(1, own, -1.0).amax(1)
        loss = (cosine.gather(1, own)[:, 0] - best_other + AHEAD).clamp_min(0).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        patch.data.clamp_(0, 1)
    return patch.detach()


def shift(before: torch.Tensor, after: torch.Tensor, num_classes: int) -> torch.Tensor:
    """(C,) float32: by how much each class's share rises from (N,) int64 predictions to others."""
    import torch

    counts = torch.bincount(after, minlength=num_classes) - torch.bincount(before, minlength=num_classes)
    return counts / len(before)
