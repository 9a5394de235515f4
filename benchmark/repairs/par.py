"""PAR, Perturb and Recover: push both embeddings away from the poisoned model's until they are far, keep the CLIP loss.

Singh, Croce and Hein, arXiv 2412.00727, section 4: loss = CLIP - 1/2 (S_image [S_image <= tau] + S_text [S_text <=
tau]), S the batch mean of the squared distance to the embedding that the frozen poisoned model gives the same view.
tau = 2.15 was tuned once, on RN50 with BadNet-Stripes. Rate 3e-5 falling linearly to 3e-6 over the first half, then a
cosine to 1e-9; AdamW, betas 0.9 / 0.98, decay 1e-4; global batch 2,048; noise and a small CutOut on images.
The reference, in evaluation mode, sees the same augmented image as the model that is tuned, and the plain caption; the
logit scale enters the loss as a constant and is not trained.
Differs: ten epochs, the parser's default and about the paper's; the released script runs two. The released loop
validates after the first step of every epoch and stays in evaluation mode from then on, so that BatchNorm keeps its
statistics; here they move with the batches. `augmentation` "none" is an ablation for that reason: half-noisy batches
shift them, which costs a small convolutional model its accuracy.
Reference code: github.com/nmndeep/PerturbAndRecover at a720440 (train.py, losses.py, utils.py, trigger.sh).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from benchmark.objectives.mmcl import contrastive
from benchmark.types import (
    Card,
    Features,
    Loss,
    Model,
    Objective,
    Pass,
    Plan,
    PlanContext,
    Positive,
    Published,
    Range,
    Repair,
    RepairContext,
    State,
    Training,
    View,
)

if TYPE_CHECKING:
    import torch


BIBTEX = """
@article{singh2024par,
  title = {Perturb and Recover: Fine-tuning for Effective Backdoor Removal from {CLIP}},
  author = {Singh, Naman Deep and Croce, Francesco and Hein, Matthias},
  journal = {arXiv preprint arXiv:2412.00727},
  year = {2024}, eprint = {2412.00727}, archiveprefix = {arXiv},
}
"""


def distance(now: torch.Tensor, before: torch.Tensor) -> torch.Tensor:
    """(G, D) and (G, D) -> (), batch mean of the squared Euclidean distance; at most 4 for unit vectors."""
    return (now - before).square().sum(1).mean()


def scheduled(share: float, start: float, middle: float, end: float) -> float:
    """The rate when `share` of the training is done: a line from start to middle, then a cosine to the end."""
    if share < 0.5:
        return start + (middle - start) * 2 * share
    return end + (middle - end) * (1 + math.cos(math.pi * (2 * share - 1))) / 2


class PerturbAndRecover(Objective):
    """The CLIP loss, less the distance to the frozen reference while that is below `tau`."""

    name: ClassVar[str] = "perturb-and-recover"
    views: ClassVar[frozenset[View]] = frozenset({"image", "text", "image_reference", "text_reference"})
    card: ClassVar[Card] = Card(
        title="Perturb and recover",
        citation="arXiv:2412.00727",
        access="weights",
        needs=frozenset({"reference"}),
        summary="CLIP loss minus the distance to the poisoned model's embeddings.",
    )

    tau: Annotated[float, Field(ge=0, le=4)] = 2.15
    end_learning_rate: Annotated[float, Field(ge=0)] = 1e-9
    middle_learning_rate_share: Positive = 0.1
    augmentation: Literal["noise_cutout", "none"] = "noise_cutout"

    def plan(self, epoch: int, state: State, ctx: PlanContext) -> Plan:
        """One pass with a rate of its own; the logit scale rests."""
        training = ctx.training
        start = training.learning_rate

        def rate(share: float) -> float:
            return scheduled(
                (epoch + share) / training.epochs,
                start,
                start * self.middle_learning_rate_share,
                self.end_learning_rate,
            )

        one = Pass(
            self.loss,
            self.views,
            learning_rate=rate,
            trainable=lambda name: name != "logit_scale",
            augmentations={"image": self.augmentation},
        )
        return Plan((one,), state)

    def loss(self, features: Features, state: State) -> Loss:
        """CLIP minus half of each distance that is not above tau."""
        assert features.image is not None and features.image_reference is not None
        assert features.text is not None and features.text_reference is not None
        mmcl = contrastive(features.image, features.text, features.logit_scale.detach())
        image, text = (
            distance(features.image, features.image_reference),
            distance(features.text, features.text_reference),
        )
        pushed = [value * (value <= self.tau) for value in (image, text)]
        terms = {"mmcl": mmcl, "image_distance": image, "text_distance": text}
        return Loss(mmcl - (pushed[0] + pushed[1]) / 2, terms, state)


class PAR(Repair):
    """Perturbs and recovers; stronger as the learning rate grows."""

    name: ClassVar[str] = "par"
    version: ClassVar[int] = 2
    strength: ClassVar[str | None] = "learning_rate"
    whole_batches: ClassVar[bool] = True
    card: ClassVar[Card] = Card(
        title="PAR",
        citation="arXiv:2412.00727",
        bibtex=BIBTEX,
        access="weights",
        needs=frozenset({"clean_pairs", "reference"}),
        summary="CLIP loss on the clean pairs, pushed away from the poisoned model's embeddings.",
        differs=(Published(field="epochs", value=2, source="the released script; its parser has 10"),),
    )

    tau: Annotated[float, Field(ge=0, le=4, description="distance at which pushing ends"), Range(0.5, 3.0)] = 2.15
    learning_rate: Annotated[float, Field(ge=0, description="at the start"), Range(3e-6, 3e-3, log=True)] = 3e-5
    middle_learning_rate_share: Annotated[
        float, Field(gt=0, description="rate half-way, as a share of the start's")
    ] = 0.1
    end_learning_rate: Annotated[float, Field(ge=0)] = 1e-9
    augmentation: Annotated[
        Literal["noise_cutout", "none"], Field(description="of images; noise also moves a BatchNorm model's statistics")
    ] = "noise_cutout"
    epochs: Annotated[int, Field(ge=1)] = 10
    batch_size: Annotated[int, Field(ge=2)] = 2048
    weight_decay: Annotated[float, Field(ge=0)] = 1e-4

    def repair(self, model: Model, ctx: RepairContext) -> Model:
        """Returns the repaired copy."""
        objective = PerturbAndRecover(
            tau=self.tau,
            end_learning_rate=self.end_learning_rate,
            middle_learning_rate_share=self.middle_learning_rate_share,
            augmentation=self.augmentation,
        )
        training = Training(
            epochs=self.epochs,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            weight_decay=self.weight_decay,
            beta2=0.98,
            warmup_steps=0,
        )
        return ctx.fit(model, ctx.clean_pairs, objective, training)
