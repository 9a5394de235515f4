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
    """One batch as tensors on the model's device; only the views asked for are there."""

    rows: torch.Tensor  # (B,) int64 row ids in the pool
    images: dict[View, torch.Tensor]  # (B, 3, H, W) uint8 each
    tokens: dict[View, torch.Tensor]  # (B, L) int64 each
    labels: torch.Tensor | None = None  # (B,) int64 where the pool is labelled


def make_inputs(
    batch: PairBatch,
    views: frozenset[View],
    model: ClipModel,
    *,
    seed: int,
    epoch: int,
    text_frozen: bool,
    augmentations: Mapping[View, Augmentation] = AUGMENTATIONS,
    labels: np.ndarray | None = None,
) -> Inputs:
    """Moves one batch to the model's device, once, augments and tokenizes it.

    All randomness is a function of (seed, epoch, row); views draw apart. The "_reference" views need no input of their
    own: they are the reference's embeddings of the plain views. Rows and labels travel with their batch, since looking
    them up later would make the host wait for the device in every step.

    Args:
        batch: pairs of one worker's share of the global batch.
        views: which are made.
        model: says the device, and tokenizes.
        seed: root of the augmentations.
        epoch: of the training, 0-based.
        text_frozen: captions are augmented alike in every epoch.
        augmentations: by view.
        labels: (N,) int64 of the whole pool, where it is labelled.
    """
    device = model.device
    base = _moved(batch.images, device) if views & set(IMAGE_VIEWS) else batch.images
    images: dict[View, torch.Tensor] = {}
    tokens: dict[View, torch.Tensor] = {}
    for view in IMAGE_VIEWS:
        if view not in views:
            continue
        policy = augmentations.get(view, "none")
        stream = derive_seed(seed, STREAMS[view], epoch)
        images[view] = base if policy == "none" else augment_images(policy, base, seed=stream, ids=batch.rows)
    for view in TEXT_VIEWS:
        if view not in views:
            continue
        captions = batch.captions
        if augmentations.get(view, "none") != "none":
            own = seed if view == "text_augmented" else derive_seed(seed, STREAMS[view])
            captions = augment_captions(captions, batch.rows, seed=own, epoch=None if text_frozen else epoch)
        tokens[view] = _moved(model.tokenize(captions), device)
    own_labels = None if labels is None else _moved(torch.from_numpy(labels[batch.rows]), device)
    return Inputs(_moved(torch.from_numpy(batch.rows), device), images, tokens, own_labels)


def _moved(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """The tensor on the device; from pinned memory, so that the copy runs beside the step before."""
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


def cut(inputs: Inputs, start: int, stop: int) -> Inputs:
    """A slice of a batch."""
    return Inputs(
        inputs.rows[start:stop],
        {view: images[start:stop] for view, images in inputs.images.items()},
        {view: tokens[start:stop] for view, tokens in inputs.tokens.items()},
        None if inputs.labels is None else inputs.labels[start:stop],
    )
