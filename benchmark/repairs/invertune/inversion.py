"""InverTune's second step: a mask and a pattern that turn images into the target, learnt on clean images.

Section and weights of arXiv 2506.12411; what departs from it is said in `repair`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from benchmark.types import Model, Pool, RepairContext

if TYPE_CHECKING:
    import torch

WINDOW, SIGMA = 11, 1.5  # of the structural similarity
C1, C2 = 0.01**2, 0.03**2
READ_AT_ONCE = 256


class Goal(NamedTuple):
    """What the inverted trigger is to reach."""

    target: int
    embedding: torch.Tensor  # (D,), e_t
    head: torch.Tensor  # (C, D)


class Weights(NamedTuple):
    """Of the four terms; the fields of `InverTune`."""

    target: float
    embedding: float
    ssim: float
    mask: float
    temperature: float


def stamped(images: torch.Tensor, mask: torch.Tensor, pattern: torch.Tensor) -> torch.Tensor:
    """(1 - m) x + m p of (B, 3, H, W) images; mask and pattern broadcast to one of them."""
    return (1 - mask) * images + mask * pattern


def embedded(
    suspect: Model,
    pool: Pool,
    ctx: RepairContext,
    mask: torch.Tensor | None = None,
    pattern: torch.Tensor | None = None,
) -> torch.Tensor:
    """(N, D) embeddings of all images of a pool; with a trigger, where it is given."""
    import torch

    found = []
    with torch.no_grad():
        for part in pool.in_order(READ_AT_ONCE):
            images = part.images.to(suspect.device).float() / 255
            shown = images if mask is None or pattern is None else stamped(images, mask, pattern)
            found.append(ctx.encode_images(suspect, shown))
    return torch.cat(found)


def ssim(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """() mean structural similarity of (B, 3, H, W) float images in [0, 1]: Gaussian windows, no padding."""
    import torch
    from torch.nn import functional

    place = torch.arange(WINDOW, dtype=a.dtype, device=a.device) - WINDOW // 2
    line = (-(place**2) / (2 * SIGMA**2)).exp()
    window = torch.outer(line, line) / line.sum() ** 2

    def mean(x: torch.Tensor) -> torch.Tensor:
        return functional.conv2d(x, window.expand(3, 1, WINDOW, WINDOW), groups=3)

    mean_a, mean_b = mean(a), mean(b)
    spread = mean(a * a) - mean_a**2 + mean(b * b) - mean_b**2
    joint = mean(a * b) - mean_a * mean_b
    return ((2 * mean_a * mean_b + C1) * (2 * joint + C2) / ((mean_a**2 + mean_b**2 + C1) * (spread + C2))).mean()


def inverted(
    suspect: Model,
    draw: Callable[[], torch.Tensor],
    goal: Goal,
    *,
    weights: Weights,
    steps: int,
    rate: float,
    ctx: RepairContext,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Learns a trigger with Adam, one drawn batch a step.

    Args:
        suspect: the model, in evaluation mode and without gradients of its own.
        draw: gives (B, 3, H, W) float32 clean images in [0, 1], none of which the model takes for the target.
        goal: where they are to go.
        weights: of the terms.
        steps: updates.
        rate: of Adam.
        ctx: encodes, and seeds the pattern.

    Returns:
        Mask and pattern, (3, H, W) float32 each in [0, 1].
    """
    import torch

    shape, device = draw().shape[1:], goal.head.device
    mask = torch.ones(shape, device=device, requires_grad=True)
    pattern = torch.rand(shape, generator=ctx.generator).to(device).requires_grad_()
    optimizer = torch.optim.Adam([mask, pattern], lr=rate)
    for _ in range(steps):
        images = draw()
        shown = stamped(images, mask, pattern)
        loss = _missed(ctx.encode_images(suspect, shown), goal, weights)
        loss = loss + weights.ssim * (1 - ssim(shown, images)) + weights.mask * mask.abs().sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        mask.data.clamp_(0, 1)
        pattern.data.clamp_(0, 1)
    return mask.detach(), pattern.detach()


def _missed(features: torch.Tensor, goal: Goal, weights: Weights) -> torch.Tensor:
    """() how far (B, D) embeddings are from the target: among the classes, and from its own images."""
    import torch
    from torch.nn import functional

    logits = features @ goal.head.T / weights.temperature
    aim = torch.full_like(logits[:, 0], goal.target, dtype=torch.long)
    away = (features - goal.embedding).norm()  # of the whole batch, as released
    return weights.target * functional.cross_entropy(logits, aim) + weights.embedding * away
