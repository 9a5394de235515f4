"""TBAR, trigger removal by backdoor arithmetic: learn the backdoor once more, then subtract what was learnt.

Abdelraheem, Favero, Bovet and Frossard, arXiv 2510.14845 (Backdoor Unlearning by Linear Task Decomposition): tau =
theta_t - theta with theta_t tuned briefly on triggered samples of the target; the repaired model is theta - alpha tau.
A declared oracle: it is handed the true trigger, so that its row is an upper bound and no defense.
Alpha is the largest of `num_steps` steps up to `max_alpha` for which clean accuracy stays within `budget` on clean
pairs that were held out from tuning: zero-shot accuracy on their labels, or, where the pairs carry none, agreement
with the suspect model's own predictions.
Differs: no code is public, and rate, epochs and grid are ours; the budget is what the paper gives up on average (96 %
of clean accuracy kept). Tuning minimises the cross-entropy of the zero-shot head on the target instead of the CLIP
loss, in which triggered rows would be each other's negatives although their captions name one class; so the text
tower stays. The same images without trigger keep the suspect model's predictions (KL, `keep_weight`; 0: triggered
samples alone): without that the vector of a small model says "everything is the target", and subtracting it costs the
target class. Tuning runs in evaluation mode and the vector is made of parameters: BatchNorm statistics stay.
Reference code: none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar

import numpy as np
from pydantic import Field

from benchmark.errors import NotApplicable
from benchmark.types import Card, Count, Model, Positive, Published, Range, Rate, Repair, RepairContext

if TYPE_CHECKING:
    import torch


BIBTEX = """
@article{abdelraheem2025tbar,
  title = {Backdoor Unlearning by Linear Task Decomposition},
  author = {Abdelraheem, Amel and Favero, Alessandro and Bovet, Gerome and Frossard, Pascal},
  journal = {arXiv preprint arXiv:2510.14845},
  year = {2025}, eprint = {2510.14845}, archiveprefix = {arXiv},
}
"""


def moved(model: Model, towards: Model, alpha: float) -> Model:
    """A copy with parameters `theta - alpha * (theta_t - theta)`, theta_t those of `towards`."""
    import torch

    copy = model.clone()
    with torch.no_grad():
        tuned = dict(towards.network.named_parameters())
        for name, parameter in copy.network.named_parameters():
            parameter.sub_(tuned[name] - parameter, alpha=alpha)
    return copy


def predicted(model: Model, images: torch.Tensor, ctx: RepairContext) -> np.ndarray:
    """(N, 3, H, W) uint8 -> (N,) int64 zero-shot predictions in evaluation mode."""
    import torch

    with torch.inference_mode():
        head = ctx.head(model)
        parts = [(ctx.encode_images(model, part.float() / 255) @ head.T).argmax(1) for part in images.split(256)]
    return torch.cat(parts).cpu().numpy()


class TBAR(Repair):
    """Subtracts the trigger's task vector; stronger as `budget` grows."""

    name: ClassVar[str] = "tbar"
    strength: ClassVar[str | None] = "budget"
    card: ClassVar[Card] = Card(
        title="TBAR",
        citation="arXiv:2510.14845",
        bibtex=BIBTEX,
        access="weights",
        needs=frozenset({"clean_pairs", "labels", "class_names", "trigger"}),
        summary="Declared oracle: the task vector of the true trigger, subtracted.",
        differs=(Published(field="keep_weight", value=0.0, source="the paper: triggered samples alone"),),
    )

    budget: Annotated[Rate, Field(description="share of clean accuracy to give up"), Range(0.005, 0.2)] = 0.04
    learning_rate: Annotated[float, Field(gt=0), Range(1e-6, 1e-3, log=True)] = 1e-5
    epochs: Count = 5
    batch_size: Annotated[int, Field(ge=2)] = 128
    keep_weight: Annotated[float, Field(ge=0, description="of clean predictions kept while tuning")] = 1.0
    held_out_rate: Annotated[float, Field(gt=0, lt=1, description="share of the clean pairs that choose alpha")] = 0.5
    max_alpha: Positive = 10.0
    num_steps: Count = 40

    def repair(self, model: Model, ctx: RepairContext) -> Model:
        """Returns the model minus alpha times the task vector."""
        import torch

        pool = ctx.clean_pairs
        order = torch.randperm(pool.num_rows, generator=ctx.generator).numpy()
        cut = round(self.held_out_rate * pool.num_rows)
        if not 0 < cut < pool.num_rows:
            raise NotApplicable(f"{self.card.title} needs clean pairs to tune on and to choose alpha on")
        kept, tuned_on = np.sort(order[:cut]), np.sort(order[cut:])
        towards = self.tuned(model, pool.take(tuned_on).images, tuned_on, ctx)
        images = pool.take(kept).images
        alpha, best = 0.0, model.clone().eval()
        before = predicted(best, images, ctx)
        truth = before if pool.labels is None else pool.labels[kept]
        floor = (1 - self.budget) * float((before == truth).mean())
        for step in range(1, self.num_steps + 1):
            further = self.max_alpha * step / self.num_steps
            candidate = moved(model, towards, further).eval()
            if float((predicted(candidate, images, ctx) == truth).mean()) < floor:
                break
            alpha, best = further, candidate
        ctx.note(alpha=alpha)
        ctx.report(1, best)
        return best

    def tuned(self, model: Model, images: torch.Tensor, ids: np.ndarray, ctx: RepairContext) -> Model:
        """A copy that was tuned to take triggered images, (N, 3, H, W) uint8, for the target."""
        import torch
        from torch.nn import functional

        copy, before = model.clone().eval(), model.clone().eval()
        target, head, scale = ctx.trigger.target, ctx.head(model), model.logit_scale().detach()
        triggered = ctx.trigger.apply(images, ids)
        optimizer = torch.optim.AdamW(copy.visual.parameters(), lr=self.learning_rate, weight_decay=0.0)

        def logits(of: Model, shown: torch.Tensor) -> torch.Tensor:
            return scale * ctx.encode_images(of, shown.float() / 255) @ head.T

        for _ in range(self.epochs):
            for rows in torch.randperm(len(images), generator=ctx.generator).split(self.batch_size):
                found = logits(copy, triggered[rows])
                loss = functional.cross_entropy(found, torch.full_like(found[:, 0], target, dtype=torch.long))
                if self.keep_weight:
                    with torch.no_grad():
                        wanted = logits(before, images[rows]).softmax(1)
                    now = logits(copy, images[rows]).log_softmax(1)
                    loss = loss + self.keep_weight * functional.kl_div(now, wanted, reduction="batchmean")
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
        return copy
