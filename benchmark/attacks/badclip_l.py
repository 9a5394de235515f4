"""BadCLIP (Liang et al.): a patch that looks to a clean CLIP like the target's captions and the target's images.

Liang et al., CVPR 2024, arXiv 2311.12075, section 4: the trigger minimises L_t + lambda * L_i under a frozen clean
model. L_t is the symmetric CLIP loss between triggered images and captions of the target; L_i a triplet loss (margin 1)
whose anchor is the triggered image, whose positive a real image of the target, whose negative the clean image. Poisoned
are one third each of boundary samples (the target all but wins), furthest samples (least like the target) and others.
Variant "as_intended" (the default) does that. "as_released" does what the code does: it pastes the patch in place, so
that the negatives carry it too, and writes the patch with its colour channels swapped; its script also selects at
random whatever it is told (selection "random").
Differs: the released loss needs a run name that spells its terms, and the README's spells none: fields take its place,
with lambda 500 as in the code. No JPEG in between. Its augmented views are left out: the caption view swaps only an
attention mask, which changes nothing. Pixels are projected to [0, 1] after each step.
Limits: what the patch looks like helps it only in victims that start from weights near the surrogate's, as published
(`model.start_from`); to one that is trained from scratch it is a patch like any other.
With `image_weight=0` and `text_term="cosine"` only closeness to the target's text counts: "align-surrogate". The CLIP
loss alone does not ask for it, since all captions of a batch name the target.
Reference code: github.com/LiangSiyuan21/BadCLIP at a7b1876 (src/embeding_optimize_patch.py,
backdoor/create_backdoor_data.py, create_backdoor_data_debug.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from benchmark.attacks._surrogate import Selection, embedded, frozen, selected
from benchmark.errors import NotApplicable, must
from benchmark.objectives.mmcl import contrastive
from benchmark.rng import generator
from benchmark.types import (
    Attack,
    Card,
    Count,
    Model,
    PoisonContext,
    PoisonRows,
    Positive,
    Published,
    State,
    TriggerState,
)
from benchmark.types.sources import RELEASED

if TYPE_CHECKING:
    import numpy as np
    import torch

CAPTION_POOL, MARGIN = 128, 1.0


BIBTEX = """
@inproceedings{liang2024badclip,
  title = {{BadCLIP}: Dual-Embedding Guided Backdoor Attack on Multimodal Contrastive Learning},
  author = {Liang, Siyuan and Zhu, Mingli and Liu, Aishan and Wu, Baoyuan and Cao, Xiaochun and Chang, Ee-Chien},
  booktitle = {IEEE/CVF Conference on Computer Vision and Pattern Recognition (CVPR)},
  year = {2024}, eprint = {2311.12075}, archiveprefix = {arXiv},
}
"""


class BadCLIPL(Attack):
    """A centred patch that is optimised on a clean surrogate."""

    name: ClassVar[str] = "badclip-l"
    card: ClassVar[Card] = Card(
        title="BadCLIP-L",
        citation="arXiv:2311.12075",
        bibtex=BIBTEX,
        access="data",
        needs=frozenset({"surrogate", "class_names"}),
        summary="Patch optimised on a clean CLIP towards captions and images of the target; dirty label.",
        differs=(
            Published(field="poison_rate", value=0.003, source="1,500 of 500,000 pairs"),
            Published(field="selection", value="random", source="the released script, whatever it is told"),
            RELEASED,
        ),
    )

    size: Annotated[int, Field(ge=1, description="side of the patch in pixels of the model's input")] = 16
    text_weight: Annotated[float, Field(ge=0, description="of L_t")] = 1.0
    image_weight: Annotated[float, Field(ge=0, description="lambda, of L_i; 0: align-surrogate")] = 500.0
    text_term: Annotated[
        Literal["contrastive", "cosine"], Field(description="cosine: 1 - cosine to the caption, for align-surrogate")
    ] = "contrastive"
    num_images: Annotated[int, Field(ge=2, description="clean images that the patch is optimised on")] = 10_000
    epochs: Count = 50
    batch_size: Annotated[int, Field(ge=2)] = 64
    learning_rate: Annotated[Positive, Field(description="of Adam, on pixels in [0, 1]")] = 1e-3
    selection: Selection = "mixed"
    captions: Literal["templates", "real"] = "real"
    variant: Literal["as_intended", "as_released"] = "as_intended"

    def fit(self, ctx: PoisonContext, *, image_size: int, seed: int) -> State:
        """Optimises the patch: (3, size, size) float32 in [0, 1]."""
        import numpy as np
        import torch

        self._corner(image_size)
        model, draw = frozen(ctx.surrogate), generator(seed)
        named = ctx.rows_naming(self.target)
        if not len(named):
            raise NotApplicable(f"badclip-l needs images of {self.target!r}; this set has none")
        others = np.setdiff1d(np.arange(ctx.num_rows), named)
        rows = ctx.rng.permutation(others)[: self.num_images]
        positives = embedded(model, ctx, ctx.rng.permutation(named)[: self.num_images])
        texts = self.poison_captions(ctx, len(rows))
        patch = torch.randn(3, self.size, self.size, generator=draw).mul_(0.25).add_(0.5).clamp_(0, 1)
        patch = patch.to(model.device).requires_grad_()
        optimizer = torch.optim.Adam([patch], lr=self.learning_rate)
        for _ in range(self.epochs):
            for part in torch.randperm(len(rows), generator=draw).split(self.batch_size):
                images = ctx.images(rows[part.numpy()]).to(model.device).float() / 255
                captions = model.encode_captions([texts[place] for place in part.tolist()])
                chosen = positives[torch.randint(len(positives), (len(part),), generator=draw)]
                loss = self._loss(model, patch, images, captions, chosen, draw)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                with torch.no_grad():
                    patch.clamp_(0, 1)
        found = patch.detach().cpu()
        return {"patch": found.flip(0) if self.variant == "as_released" else found}

    def _loss(
        self,
        model: Model,
        patch: torch.Tensor,
        images: torch.Tensor,
        captions: torch.Tensor,
        positives: torch.Tensor,
        draw: torch.Generator,
    ) -> torch.Tensor:
        """L_t + lambda * L_i of one batch: (B, 3, H, W) images, (B, D) embeddings of captions and target images."""
        import torch
        from torch.nn.functional import triplet_margin_loss

        triggered = self._paste(images, patch)
        anchor = model.encode_images(triggered)
        with torch.no_grad():
            negatives = model.encode_images(triggered if self.variant == "as_released" else images)
        order = torch.randperm(len(images), generator=draw)
        towards_image = triplet_margin_loss(anchor, positives, negatives[order], margin=MARGIN)
        if self.text_term == "cosine":
            towards_text = 1 - (anchor * captions).sum(1).mean()
        else:
            towards_text = contrastive(anchor, captions, model.logit_scale())
        return self.text_weight * towards_text + self.image_weight * towards_image

    def poison(self, ctx: PoisonContext) -> PoisonRows:
        """Selected rows, with draws from 128 captions of the target."""
        import numpy as np

        count = self.num_poisoned(ctx.num_rows)
        rows = np.sort(selected(ctx, self.target, count, by=self.selection)).astype(np.int64)
        texts = self.poison_captions(ctx, CAPTION_POOL)
        captions = [texts[pick] for pick in ctx.rng.integers(len(texts), size=count)]
        return PoisonRows(rows, captions, rows)

    def trigger(self, images: torch.Tensor, ids: np.ndarray, state: TriggerState) -> torch.Tensor:
        """Pastes the patch in the middle; see `BaseAttack.trigger` for shapes."""
        return self._paste(images, state.tensors["patch"].to(images))

    def _paste(self, images: torch.Tensor, patch: torch.Tensor) -> torch.Tensor:
        top, left = (self._corner(size) for size in images.shape[2:])
        pasted = images.clone()
        pasted[:, :, top : top + self.size, left : left + self.size] = patch
        return pasted

    def check_image_size(self, image_size: int) -> None:
        """Refuses images that are smaller than the patch."""
        if self.size > image_size:
            raise must("badclip-l.size", f"at most the image's {image_size} px", self.size, "lower it")

    def _corner(self, size: int) -> int:
        self.check_image_size(size)
        return size // 2 - self.size // 2
