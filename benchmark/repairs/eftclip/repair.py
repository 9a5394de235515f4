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

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from benchmark.models import segmenters
from benchmark.objectives.mmcl import MMCL
from benchmark.repairs.eftclip.labels import Search, affected, scan
from benchmark.text import whole_word
from benchmark.types import Card, Count, Model, Published, Range, Rate, Repair, RepairContext, Training

BIBTEX = """
@article{hossain2025eftclip,
  title = {Robust Defense Strategies for Multimodal Contrastive Learning: Efficient Fine-tuning Against Backdoor
    Attacks},
  author = {Hossain, Md. Iqbal and Sajeeda, Afia and Perla, Neeresh Kumar and Shao, Ming},
  journal = {arXiv preprint arXiv:2511.13545},
  year = {2025}, eprint = {2511.13545}, archiveprefix = {arXiv},
}
"""

PROMPT = "a photo of a {}."


class EftCLIP(Repair):
    """Fine-tunes on re-captioned victims; stronger as the learning rate grows."""

    name: ClassVar[str] = "eftclip"
    strength: ClassVar[str | None] = "learning_rate"
    card: ClassVar[Card] = Card(
        title="EftCLIP",
        citation="arXiv:2511.13545",
        bibtex=BIBTEX,
        access="weights",
        needs=frozenset({"suspect_pairs", "class_names", "segmenter"}),
        external=("classical, or SAM with weights: the findings name the one that ran",),
        summary="Finds trigger regions with a segmenter, gives victims their own label back, fine-tunes on them.",
        differs=(Published(field="segmenter", value="FastSAM", source="the paper"),),
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

    def repair(self, model: Model, ctx: RepairContext) -> Model:
        """Returns a tuned copy, or one as it came in where no label stands out."""
        import numpy as np
        import torch

        segmenter, pool = ctx.segmenter(self.segmenter, self.weights), ctx.suspect_pairs
        search = Search(segmenter, self.view, self.top_k, self.object_rate, self.num_pairs)
        found = scan(model.clone().eval(), search, ctx)
        labels = affected(found.surviving, z=self.affected_z)
        hit = found.surviving[:, labels].any(1)
        victim = hit & (found.confirmed >= 0)
        victims = found.rows[victim]
        names = [ctx.class_names[label] for label in labels]
        ctx.note(segmenter=segmenter.name, affected=names, scanned=len(found.rows), victims=torch.from_numpy(victims))
        if len(victims) < 2:
            return model.clone()
        right = found.rows[~hit & np.isin(found.whole, labels)]
        words = [whole_word(name) for name in names]
        naming = [any(word.search(caption) for word in words) for caption in pool.captions(right)]
        right = right[naming][: len(victims)]
        own = [PROMPT.format(ctx.class_names[label]) for label in found.confirmed[victim]]
        images = torch.cat([pool.take(rows).images for rows in (victims, right) if len(rows)])
        pairs = ctx.pairs(images, [*own, *pool.captions(right)])
        training = Training(
            epochs=self.epochs,
            batch_size=min(self.batch_size, pairs.num_rows),
            learning_rate=self.learning_rate,
            warmup_steps=self.warmup_steps,
        )
        return ctx.fit(model, pairs, MMCL(), training)
