"""What tests of attacks share: images, the kit's world as an attacker meets it, its zero-shot head."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from benchmark.contexts.poison import GatedPoisonContext
from benchmark.testing import world
from benchmark.types import TriggerState

EMPTY, IDS = TriggerState(11, {}), np.array([5, 9, 70])
TARGET = "square"


def images(height: int = 12, width: int = 12) -> torch.Tensor:
    """Three random images that leave room at both ends: (3, 3, H, W) in [0.25, 0.75]."""
    return torch.rand(3, 3, height, width, generator=torch.Generator().manual_seed(0)) * 0.5 + 0.25


def context(count: int = 400, *, labelled: bool = True, seed: int = 3) -> GatedPoisonContext:
    """What an attacker is handed in the kit's world."""
    pool = world.pairs(count)
    return world.poison_context(pool if labelled else pool.unlabelled(), seed=seed)


def labels(rows: np.ndarray) -> np.ndarray:
    """True classes of rows of the kit's pairs."""
    found = world.pairs().labels
    assert found is not None
    return found[rows]


def world_head(model: Any) -> torch.Tensor:
    """The zero-shot head of the kit's classes: (C, D), unit rows."""
    source = world.source()
    with torch.no_grad():
        texts = [[prompt.format(name) for prompt in source.evaluation_templates] for name in source.class_names]
        return torch.stack(
            [torch.nn.functional.normalize(model.encode_captions(each).mean(0), dim=0) for each in texts]
        )
