"""The views of a batch that a loss asks for: base and augmented images and captions, ready for the towers."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

from benchmark.augment import autoaugment
from benchmark.clip import ClipModel
from benchmark.identity import derive_seed
from benchmark.pool import PairBatch
from benchmark.text_augment import augment_captions
from benchmark.types import View

IMAGE_VIEWS: tuple[View, ...] = ("image", "image_augmented")
TEXT_VIEWS: tuple[View, ...] = ("text", "text_augmented")


class Inputs(NamedTuple):
    """One batch as tensors; only the views asked for are there."""

    rows: np.ndarray  # (B,) int64
    images: dict[View, torch.Tensor]  # (B, 3, H, W) uint8 each
    tokens: dict[View, torch.Tensor]  # (B, L) int64 each


def make_inputs(
    batch: PairBatch, views: frozenset[View], model: ClipModel, *, seed: int, epoch: int, text_frozen: bool
) -> Inputs:
    """Augments and tokenizes one batch. All randomness is a function of (seed, epoch, row)."""
    images: dict[View, torch.Tensor] = {}
    tokens: dict[View, torch.Tensor] = {}
    if "image" in views:
        images["image"] = batch.images
    if "image_augmented" in views:
        device_images = batch.images.to(model.device, non_blocking=True)
        stream = derive_seed(seed, "augment-image", epoch)
        images["image_augmented"] = autoaugment(device_images, seed=stream, ids=batch.rows)
    if "text" in views:
        tokens["text"] = model.tokenize(batch.captions)
    if "text_augmented" in views:
        draw = None if text_frozen else epoch
        tokens["text_augmented"] = model.tokenize(augment_captions(batch.captions, batch.rows, seed=seed, epoch=draw))
    return Inputs(batch.rows, images, tokens)


def cut(inputs: Inputs, start: int, stop: int) -> Inputs:
    """A slice of a batch."""
    return Inputs(
        inputs.rows[start:stop],
        {view: images[start:stop] for view, images in inputs.images.items()},
        {view: tokens[start:stop] for view, tokens in inputs.tokens.items()},
    )
