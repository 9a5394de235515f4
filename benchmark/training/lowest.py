"""The epoch of the lowest validation loss: its weights and optimiser state, kept while training goes on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from benchmark.models.clip import ClipModel

Tensors = dict[str, torch.Tensor]
_PARTS = ("network", "optimizer")


def better(best: Tensors, network: Tensors, optimizer: Tensors, history: Sequence[Mapping[str, float]]) -> Tensors:
    """The tensors of the best epoch so far: those given where the last row's loss is below all others', else `best`."""
    *earlier, last = (row["validation_loss"] for row in history)
    if last != last or any(loss <= last for loss in earlier):  # NaN is no loss
        return best
    parts = zip(_PARTS, (network, optimizer), strict=True)
    return {
        f"{part}/{name}": value.detach().to("cpu", copy=True) for part, mine in parts for name, value in mine.items()
    }


def take(model: ClipModel, best: Tensors) -> Tensors:
    """Puts the weights of the best epoch into the model; returns the optimiser state that belongs to them."""
    network, optimizer = (
        {name.partition("/")[2]: value for name, value in best.items() if name.startswith(f"{part}/")}
        for part in _PARTS
    )
    model.network.load_state_dict(network)
    return optimizer
