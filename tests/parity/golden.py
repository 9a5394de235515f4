"""Reads what released code gave for fixed inputs; docs/parity.md says which code, and how the files were made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmark.types import Features, Loss

FOLDER = Path(__file__).with_name("data")
Golden = dict[str, np.ndarray]
VIEWS = ("image", "text", "image_augmented", "text_augmented")


def golden(item: str) -> Golden:
    """Inputs and outputs of one item, by name."""
    with np.load(FOLDER / f"{item}.npz", allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def agree(found: Any, wanted: np.ndarray, within: float) -> None:
    """Fails where shapes differ, or where any value is further off than `within`; 0 asks for equal values."""
    difference, worst = largest_difference(found, wanted), float(within)
    assert difference <= worst, f"differs by {difference:.3g}, allowed are {worst:g}"


def largest_difference(found: Any, wanted: np.ndarray) -> float:
    """Largest absolute difference; infinite where a value is not a number."""
    values = found.detach().numpy() if isinstance(found, torch.Tensor) else np.asarray(found)
    assert values.shape == wanted.shape
    difference = np.abs(values.astype(np.float64) - wanted.astype(np.float64)).max(initial=0.0)
    return float(np.nan_to_num(difference, nan=np.inf))


def leaf(array: np.ndarray) -> torch.Tensor:
    """A tensor of its own that gathers a gradient."""
    return torch.from_numpy(array.copy()).requires_grad_()


class Batch:
    """A golden batch as a loss sees it, each array a leaf."""

    def __init__(self, data: Golden) -> None:
        self.leaves = {name: leaf(data[name]) for name in (*VIEWS, "log_scale") if name in data}
        shown = {name: self.leaves.get(name) for name in VIEWS}
        rows = torch.arange(len(data["image"]))
        self.features = Features(**shown, logit_scale=self.leaves["log_scale"].exp(), rows=rows)

    def gradients(self, loss: Loss) -> dict[str, torch.Tensor]:
        """Of the loss, to every leaf; 0 where it does not reach."""
        found = torch.autograd.grad(loss.total, list(self.leaves.values()), allow_unused=True)
        pairs = zip(self.leaves.items(), found, strict=True)
        return {name: torch.zeros_like(of) if grad is None else grad for (name, of), grad in pairs}
