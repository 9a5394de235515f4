"""EftCLIP: a segmenter shows which region an alien label comes from; victims get their own label back.

"Robust Defense Strategies for Multimodal Contrastive Learning: Efficient Fine-tuning Against Backdoor Attacks",
Multimedia Tools and Applications 2026, arXiv 2511.13545, Algorithm 1. A re-implementation, not author-verified; there
is no public code. For each pair: L, the suspect model's labels of the image; S, the labels that the segmenter's
objects confirm; R, the labels of the regions when the model sees them alone; what is in L and R but not in S survives,
and its region is taken for a trigger. Labels that survive far beyond chance are affected, images with a region of
such a label are victims. The model is fine-tuned on correct pairs of the affected labels and on the victims under
their confirmed label, trigger and all.
Differs: the paper's FastSAM finds regions by text with a clean CLIP of its own; the segmenters here know no labels, so
that an object, a region of at least `object_rate` of the image, confirms the label that the model gives it alone, and
smaller regions are the candidates (the paper's limit too: visible local patches). "Far beyond chance" is a binomial z
above `affected_z`. As many correct pairs as victims are taken. `view="in_place"` shows a region at its own place and
size on the image's mean colour: a trigger of five pixels, cut out and enlarged, is no trigger for a small model.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, NamedTuple

from pydantic import Field

from benchmark import segmenters
from benchmark.objectives.mmcl import MMCL
from benchmark.types import Card, Count, Range, Rate, Repair, RepairContext, Segmenter, Training

if TYPE_CHECKING:
    import numpy as np
    import torch

READ_AT_ONCE = 256
PROMPT = "a photo of a {}."


class Scan(NamedTuple):
    """What was found in the pairs; one entry per scanned row."""

    rows: np.ndarray  # (n,) int64 rows of the pool
    whole: np.ndarray  # (n,) int64 label of the image
    confirmed: np.ndarray  # (n,) int64 label of its largest object; -1: no object
    surviving: np.ndarray  # (n, C) bool labels that a small region carries and no object confirms


class EftCLIP(Repair):
    """Fine-tunes on re-captioned victims; stronger as the learning rate grows."""

    name: ClassVar[str] = "eftclip"
    strength: ClassVar[str | None] = "learning_rate"
    card: ClassVar[Card] = Card(
        title="EftCLIP",
        citation="arXiv:2511.13545",
        access="weights",
        needs=frozenset({"suspect_pairs", "class_names", "segmenter"}),
        external=("segmenter (`segmenter`: classical, or SAM with weights; the findings name the one that ran)",),
        summary="Finds trigger regions with a segmenter, gives victims their own label back, fine-tunes on them.",
    )

    segmenter: Annotated[Literal["classical", "sam"], Field(description="the model that cuts images")] = "classical"
    weights: Annotated[str | None, Field(description="local folder of its weights, in Hugging Face layout")] = None
    view: Annotated[
        Literal["crop", "in_place"],
        Field(description="how the model sees a region: enlarged, as published, or at its own place and size"),
    ] = "crop"
    top_k: Annotated[int, Field(ge=1, description="labels of an image that may come from a trigger")] = 5
    object_rate: Annotated[Rate, Field(description="share of the image from which a region is an object")] = 0.1
    affected_z: Annotated[float, Field(gt=0, description="standard deviations above chance")] = 3.0
    num_pairs: Annotated[int, Field(ge=1, description="pairs to scan at most, drawn at random")] = 100_000
    learning_rate: Annotated[float, Field(ge=0), Range(1e-6, 1e-3, log=True)] = 1e-5
    epochs: Count = 10
    batch_size: Annotated[int, Field(ge=2)] = 64
    warmup_steps: Annotated[int, Field(ge=0)] = 50

    def identity(self) -> dict[str, Any]:
        """Weights count by content, wherever they lie."""
        parts = super().identity()
        if self.weights is not None:
            parts["fields"] = parts["fields"] | {"weights": segmenters.content_hash(self.weights)}
        return parts

    def repair(self, model: Any, ctx: RepairContext) -> Any:
        """Returns a tuned copy, or one as it came in where no label stands out."""
        import numpy as np
        import torch

        segmenter, pool = ctx.segmenter(self.segmenter, self.weights), ctx.suspect_pairs
        found = self._scan(model.clone().eval(), segmenter, ctx)
        labels = affected(found.surviving, z=self.affected_z)
        hit = found.surviving[:, labels].any(1)
        victims = found.rows[hit & (found.confirmed >= 0)]
        names = [ctx.class_names[label] for label in labels]
        ctx.note(segmenter=segmenter.name, affected=names, scanned=len(found.rows), victims=torch.from_numpy(victims))
        if len(victims) < 2:
            return model.clone()
        right = found.rows[~hit & np.isin(found.whole, labels)]
        naming = [any(mentions(caption, name) for name in names) for caption in pool.captions(right)]
        right = right[naming][: len(victims)]
        own = [PROMPT.format(ctx.class_names[label]) for label in found.confirmed[hit & (found.confirmed >= 0)]]
        images = torch.cat([pool.take(rows).images for rows in (victims, right) if len(rows)])
        pairs = ctx.pairs(images, [*own, *pool.captions(right)])
        training = Training(
            epochs=self.epochs,
            batch_size=min(self.batch_size, pairs.num_rows),
            learning_rate=self.learning_rate,
            warmup_steps=self.warmup_steps,
        )
        return ctx.fit(model, pairs, MMCL(), training)

    def _scan(self, model: Any, segmenter: Segmenter, ctx: RepairContext) -> Scan:
        import numpy as np
        import torch

        pool, head = ctx.suspect_pairs, ctx.head(model)
        rows = np.sort(torch.randperm(pool.num_rows, generator=ctx.generator)[: self.num_pairs].numpy())
        parts = []
        for batch in pool.in_order(READ_AT_ONCE):
            images = batch.images[np.isin(batch.rows, rows)]
            if not len(images):
                continue
            regions = segmenter.regions(images)
            shown = [
                view(image, mask, self.view) for image, masks in zip(images, regions, strict=True) for mask in masks
            ]
            with torch.no_grad():
                ranked = (model.encode_images(images) @ head.T).argsort(1, descending=True).cpu()
                chunks = torch.stack(shown).split(READ_AT_ONCE) if shown else ()
                alone = [(model.encode_images(chunk) @ head.T).argmax(1).cpu() for chunk in chunks]
            labels = torch.cat([torch.empty(0, dtype=torch.int64), *alone])
            per_image = labels.split([len(masks) for masks in regions])
            for order, masks, own in zip(ranked, regions, per_image, strict=True):
                parts.append((int(order[0]), *self._survivors(order, masks, own, num_classes=len(head))))
        whole, confirmed, surviving = zip(*parts, strict=True)
        return Scan(rows, np.array(whole), np.array(confirmed), np.stack(surviving))

    def _survivors(
        self, ranked: torch.Tensor, masks: torch.Tensor, own: torch.Tensor, *, num_classes: int
    ) -> tuple[int, np.ndarray]:
        """One image: its labels, best first, and the label of each region -> confirmed label or -1, (C,) bool."""
        import numpy as np

        shares = masks.flatten(1).float().mean(1) if len(masks) else own.float()
        objects, small = own[shares >= self.object_rate], own[shares < self.object_rate]
        surviving = np.zeros(num_classes, bool)
        surviving[[label for label in small.tolist() if label in ranked[: self.top_k] and label not in objects]] = True
        return (int(own[int(shares.argmax())]) if len(objects) else -1), surviving


def affected(surviving: np.ndarray, *, z: float) -> list[int]:
    """(n, C) bool -> labels that survive in more images than if the survivors were spread evenly over the labels."""
    counts, chance = surviving.sum(0), 1 / surviving.shape[1]
    total = counts.sum()
    bound = total * chance + z * (total * chance * (1 - chance)) ** 0.5
    return [label for label, count in enumerate(counts.tolist()) if count > bound]


def view(image: torch.Tensor, mask: torch.Tensor, kind: str) -> torch.Tensor:
    """(3, H, W) uint8 and a mask (H, W) -> its bounding box, enlarged ("crop"), or alone on the mean colour."""
    import torch
    from torch.nn import functional

    down, across = (torch.nonzero(mask.any(axis)).flatten() for axis in (1, 0))
    box = (slice(None), slice(int(down[0]), int(down[-1]) + 1), slice(int(across[0]), int(across[-1]) + 1))
    if kind == "crop":
        part = image[box].unsqueeze(0).float()
        enlarged = functional.interpolate(part, size=image.shape[1:], mode="bilinear", antialias=True)
        return enlarged[0].round().clamp(0, 255).to(torch.uint8)
    shown = image.float().mean((1, 2), keepdim=True).round().to(torch.uint8).repeat(1, *image.shape[1:])
    shown[box] = image[box]
    return shown


def mentions(caption: str, name: str) -> bool:
    """Whether a caption holds a name as a word."""
    return re.search(rf"(?<!\w){re.escape(name)}(?!\w)", caption, re.IGNORECASE) is not None
