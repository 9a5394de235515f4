"""Weights and optimiser state that `pretrain` artifacts hold, and what methods may do with weights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import torch

from benchmark.errors import Diverged
from benchmark.models.clip import ClipModel, as_clip, load_delta
from benchmark.stages.common import required
from benchmark.store.artifacts import Store
from benchmark.types import Model


def load_pretrained(store: Store, key: str) -> ClipModel:
    """The model of a pretrain artifact."""
    return load_delta(weights_folder(store, key), find=partial(weights_folder, store))


def weights_folder(store: Store, key: str) -> Path:
    """The folder of a pretrain artifact, with its weights; its optimiser state, twice their size, is left elsewhere."""
    return required(store, "pretrain", key).folder_with("model.json", "model.safetensors")


def optimizer_of(store: Store, key: str) -> dict[str, torch.Tensor] | None:
    """The optimiser state that a pretrain artifact left behind; None where its weights were not trained by us."""
    from safetensors.torch import load_file

    file = required(store, "pretrain", key).path("optimizer.safetensors")
    return load_file(file) if file.exists() else None


def given_back(model: Model) -> ClipModel:
    """What a method gave back, where it can be measured: of NaN no class is the nearest, yet one would be read out.

    Raises:
        Diverged: a weight, or a running statistic, is NaN or infinite.
    """
    found = as_clip(model)
    for name, weight in found.network.state_dict().items():
        if not weight.isfinite().all():
            raise Diverged(f"the method must give back finite weights, got others in {name}")
    return found


@contextmanager
def left_as_it_was(model: ClipModel) -> Iterator[None]:
    """Holds a block of a method to leaving its model alone: of what it gives back the difference to it is kept.

    Raises:
        ValueError: the block changed the model.
    """
    before = {name: tensor.clone() for name, tensor in model.network.state_dict().items()}
    yield
    now = model.network.state_dict()
    changed = [name for name in before if name not in now or not torch.equal(before[name], now[name])]
    changed += [name for name in now if name not in before]
    if changed:
        raise ValueError(f"a method must leave the model that it is given, got another {changed[0]}; change a clone()")
