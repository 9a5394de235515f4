"""SafeCLIP: unimodal warm-up, one slow CLIP epoch, then CLIP on the pairs that look safe and unimodal on the others.

Yang, Gao, Mirzasoleiman: Better Safe than Sorry: Pre-training CLIP against Targeted Data Poisoning and Backdoor
Attacks, ICML 2024, arXiv 2310.05862, section 4. After the warm-ups, each epoch scores all pairs by the cosine of an
augmented view, splits them by a mixture of two Gaussians, and lets the safe share grow.
Differs: variant "as_intended" (the default) counts the steps of each of the three learning-rate schedules on their own
and ends them at 0. Variant "as_released" counts as the published code does: from epoch 1, so that all schedules start
late, and unclamped, so that the rates climb again. In both, ties of the posterior go by the cosine (the published code
leaves them open), captions are augmented anew in each epoch (there once for all: the training's `text_augmentation`),
and a full bank pushes out its oldest entries (see `_memory_bank`). As published, pairs are ranked by the posterior,
which does not rise with the cosine everywhere where the variances differ. Peak rate, its warm-up and batch are those of
the training.
Limits: a slow warm-up that is long enough to learn the trigger puts the poison on top of the ranking, among the safe.
Reference code: github.com/BigML-CS-UCLA/SafeCLIP at 91488ce (src/main.py, train.py, scheduler.py, evaluate.py).
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from benchmark.errors import NotApplicable
from benchmark.objectives._memory_bank import nearest, new_bank, pushed
from benchmark.objectives._schedules import Cosine, own_counter
from benchmark.objectives.ssl import SSL_VIEWS, picks
from benchmark.types import (
    Augmentation,
    Card,
    Count,
    Features,
    Loss,
    Objective,
    Pass,
    Plan,
    PlanContext,
    Positive,
    Rate,
    State,
    View,
)
from benchmark.types.sources import RELEASED

BIBTEX = """
@inproceedings{yang2024safeclip,
  title = {Better Safe than Sorry: Pre-training {CLIP} against Targeted Data Poisoning and Backdoor Attacks},
  author = {Yang, Wenhan and Gao, Jingdong and Mirzasoleiman, Baharan},
  booktitle = {International Conference on Machine Learning (ICML)},
  year = {2024}, eprint = {2310.05862}, archiveprefix = {arXiv},
}
"""

# two draws of each side; the plain image and caption are never shown
TWICE: dict[View, Augmentation] = {
    "image": "simclr",
    "image_augmented": "simclr",
    "text": "eda",
    "text_augmented": "eda",
}


class SafeCLIP(Objective):
    """Only pairs that a mixture of all cosines holds for safe get the CLIP loss; the others learn within a modality."""

    name: ClassVar[str] = "safeclip"
    views: ClassVar[frozenset[View]] = SSL_VIEWS
    card: ClassVar[Card] = Card(
        title="SafeCLIP",
        citation="arXiv:2310.05862",
        bibtex=BIBTEX,
        access="training",
        external=("text augmentation (EDA)",),
        summary="CLIP loss on the pairs that a Gaussian mixture holds for safe, unimodal loss on the others.",
        differs=(RELEASED,),
    )

    variant: Literal["as_intended", "as_released"] = "as_intended"
    unimodal_epochs: Annotated[int, Field(ge=0, description="first warm-up")] = 5
    slow_epochs: Annotated[int, Field(ge=0, description="second warm-up: CLIP on all pairs")] = 1
    slow_learning_rate: Annotated[Positive, Field(description="of the second warm-up; published for 5e-4")] = 5e-6
    bank_size: Annotated[Count, Field(description="entries per modality")] = 256
    safe_posterior: Annotated[Rate, Field(description="from which on a pair is safe at the first split")] = 0.9
    growth_rate: Annotated[Rate, Field(description="added to the safe share after each epoch")] = 0.01
    max_safe_rate: Rate = 0.85
    scoring: Annotated[Literal["simclr", "none"], Field(description="augmentation of scored pairs")] = "simclr"

    def initial_state(self, *, embed_dim: int, seed: int) -> State:
        """Both banks, (S, D), and how many pairs were safe at the first split, ()."""
        import torch

        images, texts = (new_bank(self.bank_size, embed_dim, seed=seed + i) for i in range(2))
        return {"images": images, "texts": texts, "first_safe": torch.zeros((), dtype=torch.int64)}

    def plan(self, epoch: int, state: State, ctx: PlanContext) -> Plan:
        """The pass of a warm-up, or the unimodal pass over the risky pairs and the CLIP pass over the safe ones."""
        warmups, training = self.unimodal_epochs + self.slow_epochs, ctx.training
        if training.epochs <= warmups:
            raise NotApplicable(f"SafeCLIP needs more than its {warmups} epochs of warm-up, got {training.epochs}")
        if epoch >= warmups:
            return self._split(epoch, state, ctx)
        if epoch >= self.unimodal_epochs:
            slow = Pass(self.crossmodal, SSL_VIEWS, None, self.slow_learning_rate, augmentations=TWICE)
            return Plan((slow,), state)
        steps = ctx.num_rows // training.batch_size
        rate = own_counter([steps] * warmups, epoch, training)
        if self.variant == "as_released":
            rate = Cosine(training, steps * warmups, start=steps * (epoch + 1), steps=steps, clamped=False)
        return Plan((Pass(self.unimodal, SSL_VIEWS, None, rate, augmentations=TWICE),), state)

    def _split(self, epoch: int, state: State, ctx: PlanContext) -> Plan:
        at, size = epoch - self.unimodal_epochs - self.slow_epochs, ctx.training.batch_size
        scores = ctx.similarities(augmentation=self.scoring).cpu().double().numpy()
        posteriors = safe_posteriors(scores)
        if at == 0:
            state = state | {"first_safe": state["first_safe"].new_tensor((posteriors >= self.safe_posterior).sum())}
        first = int(state["first_safe"])
        shares = [first / ctx.num_rows + k * self.growth_rate for k in range(ctx.training.epochs - epoch + at)]
        safe = [first] + [int(min(share, self.max_safe_rate) * ctx.num_rows) for share in shares[1:]]
        steps = ([(ctx.num_rows - count) // size for count in safe], [count // size for count in safe])
        rates = [own_counter(one, at, ctx.training) for one in steps]
        if self.variant == "as_released":
            # steps of both are planned ahead, as many in each epoch, from a share without its cap
            planned = sum(shares) * (ctx.num_rows // size)
            rates = [
                Cosine(ctx.training, planned, start=each * (epoch + 1), steps=one[at], clamped=False)
                for one, each in zip(steps, (steps[0][at], int(planned / len(shares))), strict=True)
            ]
        best_first = np.lexsort((-scores, -posteriors))
        rows = (best_first[safe[at] :], best_first[: safe[at]])
        passes = [
            Pass(loss, SSL_VIEWS, some, rate, augmentations=TWICE)
            for loss, some, rate in zip((self.unimodal, self.crossmodal), rows, rates, strict=True)
            if len(some) >= size
        ]
        return Plan(tuple(passes), state)

    def unimodal(self, features: Features, state: State) -> Loss:
        """The second views pick the bank's nearest neighbours of the first ones, which are then pushed in."""
        assert features.image is not None and features.image_augmented is not None
        assert features.text is not None and features.text_augmented is not None
        images, texts, scale = state["images"], state["texts"], features.logit_scale
        image = picks(features.image_augmented, nearest(features.image, images), scale)
        text = picks(features.text_augmented, nearest(features.text, texts), scale)
        banks = {"images": pushed(images, features.image), "texts": pushed(texts, features.text)}
        return Loss((image + text) / 2, {"unimodal_image": image, "unimodal_text": text}, state | banks)

    def crossmodal(self, features: Features, state: State) -> Loss:
        """The CLIP loss between first images and second captions, and first captions and second images."""
        assert features.image is not None and features.image_augmented is not None
        assert features.text is not None and features.text_augmented is not None
        image = picks(features.image, features.text_augmented, features.logit_scale)
        text = picks(features.text, features.image_augmented, features.logit_scale)
        total = (image + text) / 2
        return Loss(total, {"mmcl": total}, state)


def safe_posteriors(scores: np.ndarray) -> np.ndarray:
    """(N,) cosines -> (N,) posteriors of the upper one of two Gaussians."""
    from sklearn.mixture import GaussianMixture

    mixture = GaussianMixture(n_components=2, random_state=0).fit(scores[:, None])
    return mixture.predict_proba(scores[:, None])[:, np.asarray(mixture.means_).argmax()]
