"""DECREE: a backdoored image encoder has a small trigger that makes the embeddings of all images alike; invert it.

Feng et al., CVPR 2023, arXiv:2303.15180, section 4. A mask m and a pattern p, both through tanh, are learnt on clean
images without labels: x' = (1 - m) x + m p, loss = -mean pairwise cosine of a batch + weight * |m|_1, the weight raised
fivefold after six steps above a cosine of 0.99 and lowered fivefold after six below. The smallest mask that reached
0.99 gives PL1 = |m|_1 / (3 H W); the model is trojaned if PL1 < 0.1. Score: minus PL1, -1 where no mask was found.
Differs: nothing in the search; defaults are the settings for CLIP (those for CIFAR-10: rates fall at epochs 30 and 50,
`weight_floor` 1e-5, `patience` 10). The class to which most images with the inverted trigger are classified is named
as the target where it holds at least half of them, which the paper, without text, does not do.
Reference code: github.com/GiantSeaweed/DECREE at 9c13b88 (main.py, run_decree.py, utils.py).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, ClassVar, NamedTuple

from pydantic import Field

from benchmark.types import Card, DefenderContext, Finding, Model, ModelDetector, State

if TYPE_CHECKING:
    import torch

FACTOR, STEPS, RESET, CEILING = 5.0, 5, 10, 1e5  # of the weight; it moves after more than STEPS steps on one side
BIBTEX = """
@inproceedings{feng2023decree,
  title = {Detecting Backdoors in Pre-trained Encoders},
  author = {Feng, Shiwei and Tao, Guanhong and Cheng, Siyuan and Shen, Guangyu and Xu, Xiangzhe and Liu, Yingqi and
    Zhang, Kaiyuan and Ma, Shiqing and Zhang, Xiangyu},
  booktitle = {IEEE/CVF Conference on Computer Vision and Pattern Recognition (CVPR)},
  year = {2023}, eprint = {2303.15180}, archiveprefix = {arXiv},
}
"""

SPREAD = 2 - 1e-7  # tanh is divided by it, so that 0 and 1 stay within reach of the inverse
MAJORITY = 0.5


class Weight(NamedTuple):
    """The weight of the mask's norm, and for how many steps the cosine has been on one side of its goal."""

    value: float
    above: int = 0
    below: int = 0
    at_floor: int = 0


class DECREE(ModelDetector):
    """Inverts the smallest trigger that gathers all embeddings."""

    name: ClassVar[str] = "decree"
    card: ClassVar[Card] = Card(
        title="DECREE",
        citation="arXiv:2303.15180",
        bibtex=BIBTEX,
        access="weights",
        needs=frozenset({"clean_pairs"}),
        summary="Inverts a trigger on about 1,000 clean images; a small one means a backdoor.",
    )

    epochs: Annotated[int, Field(ge=1, description="at most")] = 1000
    num_images: Annotated[int, Field(ge=2, description="clean images")] = 1000
    batch_size: Annotated[int, Field(ge=2)] = 32
    learning_rates: Annotated[tuple[float, float, float], Field(description="of Adam, by drop")] = (0.5, 0.1, 0.05)
    drops: Annotated[tuple[int, int], Field(description="epochs at which the rate falls")] = (200, 500)
    goal: Annotated[float, Field(gt=0, lt=1, description="mean pairwise cosine of a valid trigger")] = 0.99
    start_weight: Annotated[float, Field(gt=0)] = 1e-3
    weight_floor: Annotated[float, Field(gt=0)] = 1e-7
    patience: Annotated[int, Field(ge=1, description="steps without a smaller mask before it stops")] = 35
    threshold: Annotated[float, Field(gt=0, le=1, description="PL1 below which a model is trojaned")] = 0.1

    def inspect(self, model: Model, ctx: DefenderContext) -> Finding:
        """Searches for the trigger and names its target; see `Finding`."""
        import torch

        pool = ctx.clean_pairs
        rows = torch.randperm(pool.num_rows, generator=ctx.generator)[: self.num_images].numpy()
        images = pool.take(rows).images.to(model.device).float() / 255
        trigger = self._invert(model, images, ctx)
        if trigger is None:
            return Finding(-1.0, False, reason=f"no trigger brings the embeddings to a mean cosine of {self.goal:g}")
        share = float(trigger["mask"].mean())
        reason = f"a trigger on {share:.1%} of the image brings all embeddings together"
        if share >= self.threshold:
            return Finding(-share, False, None, trigger, f"{reason}: too large for a backdoor")
        return Finding(-share, True, _target(model, stamp(images, trigger), ctx), trigger, reason)

    def _invert(self, model: Model, images: torch.Tensor, ctx: DefenderContext) -> State | None:
        """The valid trigger with the smallest mask, "mask" (1, H, W) and "pattern" (3, H, W); None without one."""
        import torch

        size = images.shape[2:]
        free = [torch.rand(n, *size, generator=ctx.generator, dtype=torch.float64) for n in (1, 3)]
        free = [torch.atanh((part - 0.5) * SPREAD).to(images.device).requires_grad_() for part in free]
        optimizer = torch.optim.Adam(free, lr=self.learning_rates[0], betas=(0.5, 0.9))
        weight, best, smallest, idle = Weight(self.start_weight), None, math.inf, 0
        for epoch in range(self.epochs):
            optimizer.param_groups[0]["lr"] = self.learning_rates[sum(epoch >= drop for drop in self.drops)]
            cosines = []
            for batch in torch.randperm(len(images), generator=ctx.generator).split(self.batch_size):
                if len(batch) < 2:
                    continue
                with torch.enable_grad():
                    mask, pattern = ((torch.tanh(part) / SPREAD + 0.5).clamp(0, 1).float() for part in free)
                    trigger = {"mask": mask, "pattern": pattern}
                    cosine = mean_cosine(ctx.encode_images(model, stamp(images[batch], trigger)))
                    norm = 3 * mask.sum()  # of the three channels
                    gradients = torch.autograd.grad(weight.value * norm - cosine, free)
                for part, gradient in zip(free, gradients, strict=True):
                    part.grad = gradient
                optimizer.step()
                cosines.append(abs(float(cosine.detach())))
                valid, found = cosines[-1] > self.goal, float(norm.detach())
                if valid and found < smallest:
                    smallest, idle = found, 0
                    best = {name: part.detach() for name, part in trigger.items()}
                elif best is not None:
                    idle += 1
                weight = rebalanced(weight, valid=valid, start=self.start_weight, floor=self.weight_floor)
            if idle > self.patience and sum(cosines) / len(cosines) > self.goal:
                break
        return best


def rebalanced(weight: Weight, *, valid: bool, start: float, floor: float) -> Weight:
    """The weight after one more step, whose cosine was above the goal (`valid`) or not."""
    value, above, below = weight.value, weight.above + 1 if valid else 0, 0 if valid else weight.below + 1
    at_floor = weight.at_floor + 1 if valid and value < floor else 0
    if at_floor > RESET:
        value, above = start, 1
    if above > STEPS:
        value, above = value * FACTOR if value < CEILING else value, 0
    elif below > STEPS:
        value, below = value / FACTOR if value >= floor else value, 0
    return Weight(value, above, below, at_floor)


def stamp(images: torch.Tensor, trigger: State) -> torch.Tensor:
    """(B, 3, H, W) in [0, 1] with the pattern where the mask is."""
    return (1 - trigger["mask"]) * images + trigger["mask"] * trigger["pattern"]


def mean_cosine(embeddings: torch.Tensor) -> torch.Tensor:
    """() mean over pairs of different rows of (B, D) L2-normalised embeddings."""
    count = len(embeddings)
    return (embeddings.sum(0).square().sum() - embeddings.square().sum()) / (count * (count - 1))


def _target(model: Model, stamped: torch.Tensor, ctx: DefenderContext) -> int | None:
    """The class of most stamped images, where it holds at least half of them."""
    import torch

    head = ctx.head(model)
    if len(head) < 2:
        return None
    with torch.no_grad():
        classes = torch.cat([(ctx.encode_images(model, part) @ head.T).argmax(1) for part in stamped.split(256)])
    counts = torch.bincount(classes)
    return int(counts.argmax()) if float(counts.max()) >= MAJORITY * len(classes) else None
