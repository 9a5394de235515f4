"""RoCLIP: in every K-th epoch an image is matched with the nearest caption of a bank in place of its own.

Yang, Gao, Mirzasoleiman: Robust Contrastive Language-Image Pretraining against Data Poisoning and Backdoor Attacks,
NeurIPS 2023, arXiv 2303.06854, section 4.
Differs: the captions' augmentation is drawn anew in each epoch (the published code draws it once; see the training's
`text_augmentation`); a full bank pushes out its oldest entries (see `_memory_bank`). Entries of the bank carry no
gradient, so that matched epochs teach the image tower alone: so it is in the published code. Its epochs count from 1,
so that plain CLIP comes first.
Reference code: github.com/BigML-CS-UCLA/RoCLIP at f34a929 (model/src/train.py, main.py, parser.py).
"""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from benchmark.objectives._memory_bank import nearest, new_bank, pushed
from benchmark.objectives.mmcl import MMCL, contrastive
from benchmark.types import (
    Augmentation,
    Card,
    Choices,
    Count,
    Features,
    Loss,
    Objective,
    Pass,
    Plan,
    PlanContext,
    State,
    View,
)

BIBTEX = """
@inproceedings{yang2023roclip,
  title = {Robust Contrastive Language-Image Pretraining against Data Poisoning and Backdoor Attacks},
  author = {Yang, Wenhan and Gao, Jingdong and Mirzasoleiman, Baharan},
  booktitle = {Advances in Neural Information Processing Systems (NeurIPS)},
  year = {2023}, eprint = {2303.06854}, archiveprefix = {arXiv},
}
"""

AUGMENTED: dict[View, Augmentation] = {"image": "simclr", "text": "eda"}


class RoCLIP(Objective):
    """CLIP on augmented pairs; every K-th epoch through the caption bank. A smaller K is more robust, less accurate."""

    name: ClassVar[str] = "roclip"
    card: ClassVar[Card] = Card(
        title="RoCLIP",
        citation="arXiv:2303.06854",
        bibtex=BIBTEX,
        access="training",
        external=("text augmentation (EDA)",),
        summary="Every K-th epoch, images are matched with the nearest captions of a bank of past ones.",
    )

    bank_size: Annotated[Count, Field(description="captions that are kept; published for 1,000,000 pairs (2 %)")] = (
        21845
    )
    every: Annotated[Count, Field(description="K: one epoch in so many goes through the bank"), Choices((1, 2, 3))] = 2
    augment: Annotated[bool, Field(description="augment the images and captions of all epochs")] = True

    def initial_state(self, *, embed_dim: int, seed: int) -> State:
        """The caption bank, (S, D)."""
        return {"captions": new_bank(self.bank_size, embed_dim, seed=seed)}

    def plan(self, epoch: int, state: State, ctx: PlanContext) -> Plan:
        """One pass over all pairs, through the bank in every K-th epoch."""
        loss = self.matched if (epoch + 1) % self.every == 0 else MMCL().loss
        return Plan((Pass(loss, augmentations=AUGMENTED if self.augment else {}),), state)

    def matched(self, features: Features, state: State) -> Loss:
        """InfoNCE between images and the bank's nearest captions, asked before the batch's own are pushed in."""
        assert features.image is not None and features.text is not None
        captions = nearest(features.image, state["captions"])
        total = contrastive(features.image, captions, features.logit_scale)
        return Loss(total, {"matched": total}, {"captions": pushed(state["captions"], features.text)})
