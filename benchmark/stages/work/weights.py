"""Weights and optimiser state that `pretrain` artifacts hold."""

from __future__ import annotations

import torch

from benchmark.models.clip import ClipModel, load_delta
from benchmark.stages.common import required
from benchmark.store.artifacts import Store


def load_pretrained(store: Store, key: str) -> ClipModel:
    """The model of a pretrain artifact."""
    folder = required(store, "pretrain", key).folder
    return load_delta(folder, find=lambda base: required(store, "pretrain", base).folder)


def optimizer_of(store: Store, key: str) -> dict[str, torch.Tensor] | None:
    """The optimiser state that a pretrain artifact left behind; None where its weights were not trained by us."""
    from safetensors.torch import load_file

    file = required(store, "pretrain", key).folder / "optimizer.safetensors"
    return load_file(file) if file.exists() else None
