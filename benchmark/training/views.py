"""The views of a batch that a loss asks for: base and augmented images and captions, ready for the towers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch

from benchmark.data.image_augmentation import augment_images
from benchmark.data.pools import PairBatch
from benchmark.data.text_augmentation import augment_captions
from benchmark.models.clip import ClipModel
from benchmark.store.keys import derive_seed
from benchmark.types import Augmentation, View
from benchmark.types.training import AUGMENTATIONS

IMAGE_VIEWS: tuple[View, ...] = ("image", "image_augmented")
TEXT_VIEWS: tuple[View, ...] = ("text", "text_augmented")
STREAMS: dict[View, str] = {
    "image": "augment-base-image",
    "image_augmented": "augment-image",
    "text": "augment-base-text",
}


class Inputs(NamedTuple):
    """One batch as tensors; only the views asked for are there."""

    rows: np.ndarray  # (B,) int64
    images: dict[View, torch.Tensor]  # (B, 3, H, W) uint8 each
    tokens: dict[View, torch.Tensor]  # (B, L) int64 each


def make_inputs(
    batch: PairBatch,
    views: frozenset[View],
    model: ClipModel,
    *,
    seed: int,
    epoch: int,
    text_frozen: bool,
    augmentations: Mapping[View, Augmentation] = AUGMENTATIONS,
) -> Inputs:
    """Augments and tokenizes one batch. All randomness is a function of (seed, epoch, row); views draw apart.

    The "_reference" views need no input of their own: they are the reference's embeddings of the plain views.
    """
    images: dict[View, torch.Tensor] = {}
    tokens: dict[View, torch.Tensor] = {}
    for view in IMAGE_VIEWS:
        if view not in views:
            continue
        policy = augmentations.get(view, "none")
        images[view] = batch.images
        if policy != "none":
            on_device = batch.images.to(model.device, non_blocking=True)
            stream = derive_seed(seed, STREAMS[view], epoch)
            images[view] = augment_images(policy, on_device, seed=stream, ids=batch.rows)
    for view in TEXT_VIEWS:
        if view not in views:
            continue
        captions = batch.captions
        if augmentations.get(view, "none") != "none":
            own = seed if view == "text_augmented" else derive_seed(seed, STREAMS[view])
            captions = augment_captions(captions, batch.rows, seed=own, epoch=None if text_frozen else epoch)
        tokens[view] = model.tokenize(captions)
    return Inputs(batch.rows, images, tokens)


def cut(inputs: Inputs, start: int, stop: int) -> Inputs:
    """A slice of a batch."""
    return Inputs(
        inputs.rows[start:stop],
        {view: images[start:stop] for view, images in inputs.images.items()},
        {view: tokens[start:stop] for view, tokens in inputs.tokens.items()},
    )
