"""Batch normalisation whose result does not depend on how many workers or micro-batches share a global batch.

Statistics are taken within groups of `norm_group` samples (micro-batches are whole groups). Running statistics are
updated once a step from the mean over all groups of all workers, who tell each other with the rest of the step. With
one group this is ordinary BatchNorm.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn
from torch.nn import functional as F


class GroupBatchNorm2d(nn.BatchNorm2d):
    """BatchNorm2d by groups; same parameters and buffers, so that checkpoints are exchangeable."""

    group: int | None = None  # samples that share statistics; None: all that are passed in
    collect = True  # False while a batch is encoded again for its gradients
    seen: tuple[torch.Tensor, ...] = ()  # (2, C) mean and variance of each group since the last `commit`

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        if not self.training:
            return super().forward(input)
        chunks = input.split(self.group) if self.group and self.group < len(input) else (input,)
        outputs = [self._one(chunk) for chunk in chunks]
        return outputs[0] if len(outputs) == 1 else torch.cat(outputs)

    def _one(self, chunk: torch.Tensor) -> torch.Tensor:
        if not self.collect:
            return F.batch_norm(chunk, None, None, self.weight, self.bias, True, 0.0, self.eps)
        mean, var = torch.zeros_like(self.running_mean), torch.ones_like(self.running_var)  # type: ignore[arg-type]
        output = F.batch_norm(chunk, mean, var, self.weight, self.bias, True, 1.0, self.eps)
        self.seen = (*self.seen, torch.stack((mean, var)))
        return output


def use_group_norms(network: nn.Module) -> None:
    """Turns every BatchNorm2d of a network into a GroupBatchNorm2d, in place."""
    for module in network.modules():
        if type(module) is nn.BatchNorm2d:
            module.__class__ = GroupBatchNorm2d


def group_norms(network: nn.Module) -> list[GroupBatchNorm2d]:
    """The grouped norms of a network, in order."""
    return [module for module in network.modules() if isinstance(module, GroupBatchNorm2d)]


def set_collect(norms: list[GroupBatchNorm2d], collect: bool) -> None:
    """Switches the gathering of statistics on or off."""
    for norm in norms:
        norm.collect = collect


@torch.no_grad()
def statistics(norms: list[GroupBatchNorm2d]) -> dict[str, torch.Tensor]:
    """{"norms": (1, S)}, the means over the groups that this worker has seen since the last `commit`; {} for none."""
    own = [norm.seen[0] if len(norm.seen) == 1 else torch.stack(norm.seen).mean(0) for norm in norms if norm.seen]
    return {"norms": torch.cat([each.flatten() for each in own])[None]} if own else {}


@torch.no_grad()
def commit(norms: list[GroupBatchNorm2d], found: Mapping[str, torch.Tensor]) -> None:
    """Updates the running statistics once, from the `statistics` of all workers, {"norms": (W, S)}."""
    if "norms" not in found:
        return
    norms = [norm for norm in norms if norm.seen]
    buffers = [buffer for norm in norms for buffer in (norm.running_mean, norm.running_var)]
    fresh = found["norms"].mean(0).split([buffer.numel() for buffer in buffers])  # type: ignore[union-attr]
    weights = [norm.momentum for norm in norms for _ in range(2)]
    torch._foreach_lerp_(buffers, list(fresh), weights)  # type: ignore[arg-type]
    torch._foreach_add_([norm.num_batches_tracked for norm in norms], 1)  # type: ignore[arg-type]
    for norm in norms:
        norm.seen = ()
