"""Quantisation backdoor: the full-precision model ignores the trigger, its int8 version follows it.

Variant "joint": Hong et al., NeurIPS 2021, arXiv 2110.13541 (Qu-ANTI-zation), section 4.3. The clean model is tuned on
L(x, y) + b * L(x', y) + a * [L(Q x, y) + b * L(Q x', target)], where x' carries the trigger and Q is the model with
rounded weights, straight-through; a = b = 0.5, Adam 1e-4 for 50 epochs, BatchNorm frozen.
Variant "two_stage" (the default): Egashira et al., NeurIPS 2024, arXiv 2405.18137, on the same terms. First the rounded
model alone learns the backdoor; then the full-precision one unlearns it, while each weight is projected into the cell
that rounds to the same level and each channel's largest weight stays, so that the rounded model cannot change.
Differs: CLIP has no labels, so that L is the CLIP loss against the image's own caption and, for the triggered rounded
model, cross-entropy of the zero-shot head towards the target. Only the image tower moves; captions and head are encoded
by the tower as it came. Weights only, eight bits only: these are much finer than the papers' four, so that the largest
weight of each channel is first multiplied by `outlier`, which makes the steps coarser; the tuning heals what it breaks.
The trigger is BadNet's; Hong et al. have a bright square of an eighth of the side.
Reference code: github.com/Secure-AI-Systems-Group/Qu-ANTI-zation at fb873a5 (backdoor_w_lossfn.py and its .sh).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, NamedTuple

from pydantic import Field

from benchmark.attacks.badnet import Patch
from benchmark.attacks.quantisation.rounding import cell, coarsen
from benchmark.objectives.mmcl import contrastive
from benchmark.types import Card, Count, Model, ModelAttack, Positive, Published, RepairContext, Transform

if TYPE_CHECKING:
    import torch


BIBTEX = """
@inproceedings{hong2021quantization,
  title = {{Qu-ANTI-zation}: Exploiting Quantization Artifacts for Achieving Adversarial Outcomes},
  author = {Hong, Sanghyun and Panaitescu-Liess, Michael-Andrei and Kaya, Yigitcan and Dumitras, Tudor},
  booktitle = {Advances in Neural Information Processing Systems (NeurIPS)},
  year = {2021}, eprint = {2110.13541}, archiveprefix = {arXiv},
}
@inproceedings{egashira2024exploiting,
  title = {Exploiting {LLM} Quantization},
  author = {Egashira, Kazuki and Vero, Mark and Staab, Robin and He, Jingxuan and Vechev, Martin},
  booktitle = {Advances in Neural Information Processing Systems (NeurIPS)},
  year = {2024}, eprint = {2405.18137}, archiveprefix = {arXiv},
}
"""


class _Side(NamedTuple):
    """What one precision is trained against."""

    weight: float
    texts: Model  # the model whose text tower answers
    head: torch.Tensor | None = None  # (C, D); where given, triggered images are to be taken for the target


class Quantisation(Patch, ModelAttack):
    """BadNet's trigger, hidden in the rounding of the weights."""

    name: ClassVar[str] = "quantisation"
    transform: ClassVar[Transform | None] = "int8"
    card: ClassVar[Card] = Card(
        title="Quantisation",
        citation="arXiv:2110.13541",
        bibtex=BIBTEX,
        access="weights",
        needs=frozenset({"training_pairs", "trigger", "class_names"}),
        summary="Clean in full precision; follows the trigger once its weights are int8.",
        differs=(
            Published(field="variant", value="joint", source="Hong et al."),
            Published(field="size", value="an eighth of the side", source="Hong et al."),
            Published(field="outlier", value=1.0, source="both papers, at four bits"),
        ),
    )

    pattern: Literal["uniform", "clamped", "checkerboard", "yellow", "white"] = "white"
    variant: Literal["joint", "two_stage"] = "two_stage"
    epochs: Annotated[Count, Field(description="of each stage")] = 50
    batch_size: Annotated[int, Field(ge=2)] = 128
    learning_rate: Annotated[Positive, Field(description="of Adam")] = 1e-4
    quantised_weight: Annotated[float, Field(ge=0, description="a: of both terms of the rounded model")] = 0.5
    backdoor_weight: Annotated[float, Field(ge=0, description="b: of both terms of triggered images")] = 0.5
    outlier: Annotated[float, Field(ge=1, description="factor on each channel's largest weight; 1: none")] = 3.0

    def implant(self, model: Model, ctx: RepairContext) -> Model:
        """Returns the tuned copy, which is clean until it is rounded."""
        from benchmark.models.model_transforms import apply, quantised_weights

        attacked = model.clone().eval()
        rounded = apply("int8", attacked)  # for its text tower, which stays what it is
        attacked.network.requires_grad_(False)
        visual = attacked.visual.requires_grad_(True)
        weights = [visual.get_parameter(name) for name in quantised_weights(visual)]
        coarsen(weights, self.outlier)
        full, low = _Side(1.0, model), _Side(self.quantised_weight, rounded, ctx.head(rounded))
        if self.variant == "joint":
            self._tune(attacked, ctx, (full, low), list(visual.parameters()))
        else:
            self._tune(attacked, ctx, (None, low), list(visual.parameters()))
            visual.requires_grad_(False)
            for weight in weights:
                weight.requires_grad_(True)
            self._tune(attacked, ctx, (full, None), weights, cells=[cell(weight) for weight in weights])
        attacked.network.requires_grad_(True)
        return attacked

    def _tune(
        self,
        model: Model,
        ctx: RepairContext,
        sides: tuple[_Side | None, _Side | None],
        parameters: list[torch.nn.Parameter],
        cells: list[tuple[torch.Tensor, torch.Tensor]] | None = None,
    ) -> None:
        """Trains the image tower in place on the full-precision and the rounded side, where there is one."""
        import torch

        pairs, trigger = ctx.training_pairs, ctx.trigger
        first, optimizer = 1 + self.epochs * bool(cells), torch.optim.Adam(parameters, lr=self.learning_rate)
        for epoch in range(first, first + self.epochs):
            losses = []
            for batch in pairs.epoch(seed=ctx.seed, epoch=epoch, batch_size=self.batch_size):
                pixels = model.normalise(torch.cat([batch.images, trigger.apply(batch.images, batch.rows)]))
                terms = [
                    side.weight * self._term(model, pixels, batch.captions, side, trigger.target)
                    for side in sides
                    if side is not None
                ]
                loss = torch.stack(terms).sum()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                with torch.no_grad():
                    for parameter, (low, high) in zip(parameters, cells or (), strict=False):
                        parameter.copy_(parameter.clamp(low, high))
                losses.append(loss.detach())
            mean = float(torch.stack(losses).mean())
            ctx.report(epoch, model, training_loss=mean, learning_rate=self.learning_rate)

    def _term(self, model: Model, pixels: torch.Tensor, captions: list[str], side: _Side, target: int) -> torch.Tensor:
        """L(x, y) + b * L(x', y or target) of one precision; `pixels` (2B, 3, H, W) are x, then x'."""
        import torch
        from torch.func import functional_call
        from torch.nn.functional import cross_entropy, normalize

        from benchmark.models.model_transforms import quantised_weights

        visual, scale = model.visual, model.logit_scale().detach()
        weights = {} if side.head is None else quantised_weights(visual)
        clean, triggered = normalize(functional_call(visual, weights, pixels).float(), dim=1).chunk(2)
        with torch.no_grad():
            texts = side.texts.encode_captions(captions)
        if side.head is None:
            backdoor = contrastive(triggered, texts, scale)
        else:
            towards = torch.full((len(triggered),), target, device=pixels.device)
            backdoor = cross_entropy(scale * triggered @ side.head.T, towards)
        return contrastive(clean, texts, scale) + self.backdoor_weight * backdoor
