"""InverTune: find the target, invert the trigger, and calm the neurons that the inverted trigger excites.

Sun, Li, Liu, Du and Ge, NDSS 2026, arXiv 2506.12411. (1) A universal adversarial patch on clean images; the target is
the class whose share of predictions it raises most (`drift.py`). (2) Mask m and pattern p with x' = (1 - m) x
+ m p, Adam at 1e-2: 5 CE(zero-shot at temperature 0.07, target) + 0.5 |f(x') - e_t| + 1 (1 - SSIM(x', x)) + 0.01 |m|_1,
200 updates (`inversion.py`). (3) Stages that m and p move are critical; within them the k-means cluster (k = 2) of
the larger |change| over (C, h, w) are critical neurons, which tuning aligns with their clean values while clean
embeddings stay (weight 0.5); AdamW, decay 1e-4, gradient clipped at 1, 200 full-batch epochs on 64 images
(`tuning.py`).
|m|_1 is a sum over 3 H W entries, so that `mask_weight` belongs to a size: 0.49 at 32 pixels is 0.01 at 224.
Variant "as_published" (the default): a stage is critical if its |change of mean| / |mean| is above mean + one standard
deviation (else the largest), loss MSE, only weights that lead to critical channels move, rate 8e-6. "as_released": the
three largest stages, relative distance of the batch means, the whole image tower moves, and the cosine from the rate to
1e-7 is half as long as the training, so that it climbs again (released rate: 2e-6).
The numbers of "as_published" beyond section and loss are those of a public re-run's log.
Differs: e_t is the mean embedding of clean images that the model takes for the target; the released code pairs rows
with images *labelled* as the target, or repeats one of them. The released patch is a file; ours (same share of the
image, same place) is optimised here until images leave their class. Pixels are in [0, 1] where the released code has
normalised ones; it also updates over a whole epoch (about 7,800 times) where the paper has 200. Tuning is in
evaluation mode (released: training mode), and the last weights count (released: the least loss of each tenth).
Reference code: github.com/Goodman-liyu/InverTune at fa51db1 (models/inversion.py, ActivationTuning.py,
TargetLabel.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from benchmark.errors import NotApplicable
from benchmark.repairs.invertune.drift import Draw, patch_mask, shift, universal_patch
from benchmark.repairs.invertune.inversion import Goal, Weights, embedded, inverted, stamped
from benchmark.repairs.invertune.tuning import tuned
from benchmark.types import Card, Count, Model, Positive, Range, Rate, Repair, RepairContext
from benchmark.types.sources import RELEASED

if TYPE_CHECKING:
    import torch


BIBTEX = """
@article{sun2025invertune,
  title = {{InverTune}: Removing Backdoors from Multimodal Contrastive Learning Models via Trigger Inversion and
    Activation Tuning},
  author = {Sun, Mengyuan and Li, Yu and Liu, Yuchen and Du, Bo and Ge, Yunjie},
  journal = {arXiv preprint arXiv:2506.12411},
  year = {2025}, eprint = {2506.12411}, archiveprefix = {arXiv},
}
"""


class InverTune(Repair):
    """Removes what an inverted trigger excites; stronger as the tuning rate grows."""

    name: ClassVar[str] = "invertune"
    version: ClassVar[int] = 3
    strength: ClassVar[str | None] = "learning_rate"
    card: ClassVar[Card] = Card(
        title="InverTune",
        citation="arXiv:2506.12411",
        bibtex=BIBTEX,
        access="weights",
        needs=frozenset({"clean_pairs", "class_names"}),
        summary="Inverts a trigger for the class that adversarial patches drift to, and tunes the neurons it excites.",
        differs=(RELEASED,),
    )

    variant: Literal["as_published", "as_released"] = "as_published"
    patch_area: Annotated[float, Field(gt=0, lt=1, description="share of the image")] = 0.03
    patches: Annotated[int, Field(ge=1, description="from different starts; their shifts are averaged")] = 1
    patch_steps: Count = 200
    patch_learning_rate: Positive = 0.05
    inversion_steps: Count = 200
    inversion_learning_rate: Positive = 0.01
    temperature: Positive = 0.07
    target_weight: Annotated[float, Field(ge=0)] = 5.0
    embedding_weight: Annotated[float, Field(ge=0)] = 0.5
    ssim_weight: Annotated[float, Field(ge=0)] = 1.0
    mask_weight: Annotated[float, Field(ge=0)] = 0.01
    batch_size: Annotated[int, Field(ge=2, description="images of an update, and of the tuning")] = 64
    epochs: Annotated[int, Field(ge=1, description="full-batch updates of the tuning")] = 200
    learning_rate: Annotated[float, Field(gt=0, description="of the tuning"), Range(1e-6, 1e-3, log=True)] = 8e-6
    weight_decay: Annotated[float, Field(ge=0)] = 1e-4
    preserve_weight: Annotated[float, Field(ge=0, description="of clean embeddings kept")] = 0.5
    accept_rate: Annotated[Rate, Field(description="inverted ASR below which the model is left as it is")] = 0.0

    def repair(self, model: Model, ctx: RepairContext) -> Model:
        """Returns the tuned copy."""
        import torch

        suspect, pool = model.clone().eval(), ctx.clean_pairs
        suspect.network.requires_grad_(False)
        head = ctx.head(suspect)
        clean = embedded(suspect, pool, ctx)
        taken = (clean @ head.T).argmax(1).cpu()

        def draw(among: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor]:
            rows = torch.arange(pool.num_rows) if among is None else among
            picked = rows[torch.randperm(len(rows), generator=ctx.generator)[: self.batch_size]]
            return pool.take(picked.numpy()).images.to(head.device).float() / 255, taken[picked]

        target, rise = self._target(suspect, taken, head, draw, ctx)
        others, own = (torch.nonzero(where)[:, 0] for where in (taken != target, taken == target))
        if not len(others):
            raise NotApplicable(f"{self.card.title} needs clean images of other classes than {ctx.class_names[target]}")
        goal = Goal(target, clean[own].mean(0) if len(own) else head[target], head)
        mask, pattern = inverted(
            suspect,
            lambda: draw(others)[0],
            goal,
            weights=Weights(
                self.target_weight, self.embedding_weight, self.ssim_weight, self.mask_weight, self.temperature
            ),
            steps=self.inversion_steps,
            rate=self.inversion_learning_rate,
            ctx=ctx,
        )
        hits = (embedded(suspect, pool, ctx, mask, pattern) @ head.T).argmax(1).cpu()[others] == target
        success = float(hits.float().mean())
        ctx.note(target=ctx.class_names[target], target_shift=rise, inverted_asr=success, mask=mask, pattern=pattern)
        if success < self.accept_rate:
            return model.clone()
        images, _ = draw()
        return tuned(
            model,
            images,
            stamped(images, mask, pattern),
            released=self.variant == "as_released",
            epochs=self.epochs,
            learning_rate=self.learning_rate,
            weight_decay=self.weight_decay,
            preserve_weight=self.preserve_weight,
            ctx=ctx,
        )

    def _target(
        self, suspect: Model, taken: torch.Tensor, head: torch.Tensor, draw: Draw, ctx: RepairContext
    ) -> tuple[int, float]:
        """The class whose share of predictions universal patches raise most on average, and by how much."""
        import torch

        mask = patch_mask(suspect.image_size, self.patch_area).to(head.device)
        rises = torch.zeros(len(head))
        for _ in range(self.patches):
            patch = universal_patch(
                suspect, head, draw, mask=mask, steps=self.patch_steps, rate=self.patch_learning_rate, ctx=ctx
            )
            after = (embedded(suspect, ctx.clean_pairs, ctx, mask, patch) @ head.T).argmax(1).cpu()
            rises += shift(taken, after, len(head)) / self.patches
        return int(rises.argmax()), float(rises.max())
