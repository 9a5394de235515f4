"""Changes of a whole model before it is evaluated, as deployment makes them: int8, bf16, prune10.

"int8" is weight-only, simulated quantisation: the weights of convolutions, linear layers, attention projections and
embeddings are rounded to the nearest of 255 symmetric levels per output channel (per row of an embedding) and turned
back into floats, in which everything is computed. Activations, norms, biases and bare projection matrices stay as they
are; no integer kernel runs. The numbers are those of torch's own per-channel quantisation (tested).

"bf16" rounds every floating tensor, buffers too, to bfloat16 and back; activations stay as they are. "prune10" sets the
smallest tenth of the weights to 0 (`pruning.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TypeVar

import torch
from torch import nn

from benchmark.models.pruning import pruned_weights
from benchmark.types import Model, Transform

M = TypeVar("M", bound=Model)
LEVELS = 127  # on either side of 0
_WEIGHTS: tuple[tuple[type[nn.Module], str], ...] = (
    (nn.Conv2d, "weight"),
    (nn.Linear, "weight"),
    (nn.Embedding, "weight"),
    (nn.MultiheadAttention, "in_proj_weight"),
)


def quantised(weight: torch.Tensor) -> torch.Tensor:
    """Rounds a weight to 255 symmetric levels per output channel, its first axis.

    The gradient passes the rounding as if it were not there (straight-through), and the levels as constants.

    Args:
        weight: (O, ...) float.

    Returns:
        (O, ...) of the same type.
    """
    flat = weight.detach().flatten(1)
    scale = flat.abs().amax(1, keepdim=True) / LEVELS
    scale = torch.where(scale > 0, scale, 1)
    rounded = (flat / scale).round().clamp(-LEVELS, LEVELS) * scale
    return weight + (rounded.view_as(weight) - weight.detach())


def quantised_weights(network: nn.Module) -> dict[str, torch.Tensor]:
    """By name, every weight of a network that "int8" rounds, rounded; differentiable, for `functional_call`."""
    found: dict[str, torch.Tensor] = {}
    for prefix, module in network.named_modules():
        for kind, name in _WEIGHTS:
            weight = getattr(module, name, None) if isinstance(module, kind) else None
            if weight is not None:
                found[f"{prefix}.{name}" if prefix else name] = quantised(weight)
    return found


def rounded_tensors(network: nn.Module) -> dict[str, torch.Tensor]:
    """By name, every floating tensor of a network, rounded to bfloat16 and turned back."""
    tensors = {name: value for name, value in network.state_dict().items() if value.is_floating_point()}
    return {name: value.bfloat16().to(value.dtype) for name, value in tensors.items()}


_CHANGED: Mapping[Transform, Callable[[nn.Module], dict[str, torch.Tensor]]] = {
    "int8": quantised_weights,
    "bf16": rounded_tensors,
    "prune10": partial(pruned_weights, share=0.1),
}


def apply(name: Transform, model: M) -> M:
    """A transformed copy of a model; the input is not modified."""
    copy = model.clone()
    with torch.no_grad():
        tensors = copy.network.state_dict()
        for key, value in _CHANGED[name](copy.network).items():
            tensors[key].copy_(value)
    return copy
