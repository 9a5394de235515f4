"""Magnitude pruning: the smallest weights of a network, over all its layers, become 0.

Han et al. 2015, arXiv:1506.02626, section 3, without the training between. The numbers are those of torch's own global
pruning (tested).
"""

from __future__ import annotations

import torch
from torch import nn

# what multiplies; rows of an embedding are looked up, and a word without weights would be no word
WEIGHTS: tuple[tuple[type[nn.Module], str], ...] = (
    (nn.Conv2d, "weight"),
    (nn.Linear, "weight"),
    (nn.MultiheadAttention, "in_proj_weight"),
)


def pruned_weights(network: nn.Module, share: float) -> dict[str, torch.Tensor]:
    """By name, the weights of convolutions, linear layers and attention, with the smallest `share` of them at 0.

    Args:
        network: stays as it is.
        share: of all these weights together, in [0, 1); rounded to whole weights.
    """
    found: dict[str, torch.Tensor] = {}
    for prefix, module in network.named_modules():
        for kind, name in WEIGHTS:
            weight = getattr(module, name, None) if isinstance(module, kind) else None
            if weight is not None:
                found[f"{prefix}.{name}" if prefix else name] = weight.detach()
    sizes = torch.cat([weight.abs().flatten() for weight in found.values()])
    dropped = sizes.argsort(stable=True)[: round(share * len(sizes))]  # of equal weights the first go
    kept = torch.ones_like(sizes).index_fill_(0, dropped, 0.0).split([weight.numel() for weight in found.values()])
    return {name: weight * mask.view(weight.shape) for (name, weight), mask in zip(found.items(), kept, strict=True)}
