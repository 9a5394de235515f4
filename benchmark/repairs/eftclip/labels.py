"""EftCLIP's search: labels that a model gives a small region alone, and that no object of the image confirms.

Algorithm 1 of arXiv 2511.13545; what departs from it is said in `repair`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

from benchmark.models.segmenters.shown import view
from benchmark.types import Model, RepairContext, Segmenter

if TYPE_CHECKING:
    import numpy as np
    import torch

READ_AT_ONCE = 256


class Search(NamedTuple):
    """How pairs are searched; the fields of `EftCLIP`."""

    segmenter: Segmenter
    view: Literal["crop", "in_place"]
    top_k: int
    object_rate: float
    num_pairs: int


class Scan(NamedTuple):
    """What was found in the pairs; one entry per scanned row."""

    rows: np.ndarray  # (n,) int64 rows of the pool
    whole: np.ndarray  # (n,) int64 label of the image
    confirmed: np.ndarray  # (n,) int64 label of its largest object; -1: no object
    surviving: np.ndarray  # (n, C) bool labels that a small region carries and no object confirms


def scan(model: Model, search: Search, ctx: RepairContext) -> Scan:
    """Searches pairs of the pool, drawn at random; the model is in evaluation mode."""
    import numpy as np
    import torch

    pool, head = ctx.suspect_pairs, ctx.head(model)

    def ranked(images: torch.Tensor) -> torch.Tensor:
        """(B, 3, H, W) -> (B, C) labels, best first."""
        with torch.no_grad():
            logits = [model.encode_images(part) @ head.T for part in images.split(READ_AT_ONCE)]
        return torch.cat(logits).argsort(1, descending=True).cpu()

    rows = np.sort(torch.randperm(pool.num_rows, generator=ctx.generator)[: search.num_pairs].numpy())
    whole, confirmed, surviving = [], [], []
    for batch in pool.in_order(READ_AT_ONCE):
        images = batch.images[torch.from_numpy(np.isin(batch.rows, rows))]
        if not len(images):
            continue
        regions = search.segmenter.regions(images)
        alone = [view(image, one, search.view) for image, masks in zip(images, regions, strict=True) for one in masks]
        labels = ranked(torch.stack(alone))[:, 0] if alone else torch.empty(0, dtype=torch.int64)
        per_image = labels.split([len(masks) for masks in regions])
        for order, masks, own in zip(ranked(images), regions, per_image, strict=True):
            shares = masks.flatten(1).float().mean(1) if len(masks) else own.float()
            objects, small = own[shares >= search.object_rate], own[shares < search.object_rate]
            whole.append(int(order[0]))
            confirmed.append(int(own[int(shares.argmax())]) if len(objects) else -1)
            likely = set(order[: search.top_k].tolist()) - set(objects.tolist())
            surviving.append(np.isin(np.arange(len(head)), [label for label in small.tolist() if label in likely]))
    return Scan(rows, np.array(whole), np.array(confirmed), np.stack(surviving))


def affected(surviving: np.ndarray, *, z: float) -> list[int]:
    """(n, C) bool -> labels that survive in more images than if the survivors were spread evenly over the labels."""
    counts, chance = surviving.sum(0), 1 / surviving.shape[1]
    total = counts.sum()
    bound = total * chance + z * (total * chance * (1 - chance)) ** 0.5
    return [label for label, count in enumerate(counts.tolist()) if count > bound]
