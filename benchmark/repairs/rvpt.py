"""RVPT: few-shot visual prompts on the frozen model, pushed away from the features that the model would encode.

Zhang et al., "Defending Multimodal Backdoored Models by Repulsive Visual Prompt Tuning", NeurIPS 2025,
arXiv 2412.20392, section 4: cross-entropy over "a photo of a {}." plus `alpha` times the mean cosine, over the blocks
with prompts, between the class token with prompts and that of the frozen model without; settings of section 5.
Differs: the paper's 0.34 M parameters on ViT-B/32 (50 tokens of width 768, 0.27 % of the weights) are nine blocks of
prompts, so `depth` counts the blocks at the start that stay without, and so it is here. What the text leaves open is
set as in CoOp (arXiv 2109.01134), whose other settings the paper takes over: momentum 0.9, prompts drawn with standard
deviation 0.02, one step of the cosine per epoch. Images are not augmented. A class with fewer shots gives what it has.
The temperature is the model's own. Evaluation keeps the benchmark's prompt ensemble.
Reference code: none; github.com/zhangzf01/RVPT holds a README only.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from benchmark.errors import NotApplicable
from benchmark.types import Card, Count, Model, Range, Repair, RepairContext

if TYPE_CHECKING:
    import numpy as np
    import torch

BIBTEX = """
@inproceedings{zhang2025rvpt,
  title = {Defending Multimodal Backdoored Models by Repulsive Visual Prompt Tuning},
  author = {Zhang, Zhifang and He, Shuo and Wang, Haobo and Shen, Bingquan and Feng, Lei},
  booktitle = {Advances in Neural Information Processing Systems (NeurIPS)},
  year = {2025}, eprint = {2412.20392}, archiveprefix = {arXiv},
}
"""

PROMPT = "a photo of a {}."
INITIAL_DEVIATION = 0.02


class RVPT(Repair):
    """Learns deep prompts; the weights of the model stay as they are. Stronger as `alpha` grows."""

    name: ClassVar[str] = "rvpt"
    strength: ClassVar[str | None] = "alpha"
    card: ClassVar[Card] = Card(
        title="RVPT",
        citation="arXiv:2412.20392",
        bibtex=BIBTEX,
        access="weights",
        needs=frozenset({"clean_pairs", "labels", "class_names", "reference"}),
        summary="Deep visual prompts on the frozen model, from a few labelled shots per class; transformers only.",
    )

    alpha: Annotated[float, Field(ge=0, description="weight of the repulsion"), Range(0.25, 8, log=True)] = 2.0
    num_tokens: Annotated[int, Field(ge=1, description="prompts per block")] = 50
    depth: Annotated[int, Field(ge=0, description="blocks at the start of the tower without prompts")] = 3
    num_shots: Annotated[int, Field(ge=1, description="labelled clean images per class")] = 16
    learning_rate: Annotated[float, Field(gt=0, description="of SGD, at the start of its cosine")] = 2e-3
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    epochs: Count = 50
    batch_size: Count = 32

    def repair(self, model: Model, ctx: RepairContext) -> Model:
        """Returns a copy with prompts."""
        import torch

        rows = shots(ctx.labels, self.num_shots, ctx.generator)
        prompted = model.clone().eval().add_adapter("prompts", depth=self.depth, tokens=self.num_tokens)
        prompted.network.requires_grad_(False)
        prompts = prompted.visual.get_parameter("prompts.tokens").requires_grad_(True)
        with torch.no_grad():
            drawn = torch.randn(prompts.shape, generator=ctx.generator) * INITIAL_DEVIATION
            prompts.copy_(drawn)
            head = prompted.encode_captions([PROMPT.format(name) for name in ctx.class_names])
        optimizer = torch.optim.SGD([prompts], lr=self.learning_rate, momentum=self.momentum)
        labels, few = torch.from_numpy(ctx.labels), ctx.clean_pairs.take(rows).images
        for epoch in range(self.epochs):
            rate = self.learning_rate * (1 + math.cos(math.pi * epoch / self.epochs)) / 2
            optimizer.param_groups[0]["lr"] = rate
            losses = []
            order = torch.randperm(len(rows), generator=ctx.generator)
            for at in order.split(self.batch_size):
                loss = self._loss(prompted, few[at], labels[rows[at]], head, ctx)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                losses.append(loss.detach())
            mean = float(torch.stack(losses).mean())
            ctx.report(epoch + 1, prompted, training_loss=mean, learning_rate=rate)
        prompted.network.requires_grad_(True)
        return prompted.train(model.training)

    def _loss(
        self, model: Model, images: torch.Tensor, labels: torch.Tensor, head: torch.Tensor, ctx: RepairContext
    ) -> torch.Tensor:
        import torch
        from torch.nn import functional

        with torch.no_grad():
            frozen = list(ctx.activations(ctx.reference, images).values())[self.depth :]
        embedding, found = embedded(model, images, ctx)
        logits = model.logit_scale() * embedding @ head.T
        tokens = [block[:, 0] for block in found[self.depth :]]
        repulsion = repulsive(tokens, [block[:, 0] for block in frozen])
        return functional.cross_entropy(logits, labels.to(logits.device)) + self.alpha * repulsion


def repulsive(prompted: list[torch.Tensor], frozen: list[torch.Tensor]) -> torch.Tensor:
    """Class tokens (B, W) of the blocks with prompts, with and without them -> mean cosine (), to be minimised."""
    import torch
    from torch.nn import functional

    pairs = zip(prompted, frozen, strict=True)
    return torch.stack([functional.cosine_similarity(one, other).mean() for one, other in pairs]).mean()


def embedded(model: Model, images: torch.Tensor, ctx: RepairContext) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """Embeddings (B, D) and what every block gives (B, T, W), in one forward."""
    from torch.nn import functional

    seen: list[torch.Tensor] = []

    def keep(_: object, __: object, output: torch.Tensor) -> None:
        seen.append(output)

    handle = model.visual.register_forward_hook(keep)
    try:
        blocks = list(ctx.activations(model, images).values())
    finally:
        handle.remove()
    return functional.normalize(seen[0].float(), dim=1), blocks


def shots(labels: np.ndarray, count: int, generator: torch.Generator) -> np.ndarray:
    """Draws up to `count` rows of each class: (n,) int64, in the order of the classes."""
    import numpy as np
    import torch

    if not (labels >= 0).any():
        raise NotApplicable("RVPT needs labelled clean pairs; none of these has a label")
    drawn = []
    for label in np.unique(labels[labels >= 0]):
        rows = np.flatnonzero(labels == label)
        drawn.append(rows[torch.randperm(len(rows), generator=generator)[:count].numpy()])
    return np.concatenate(drawn)
