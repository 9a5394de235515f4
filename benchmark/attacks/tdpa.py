"""Targeted data poisoning: chosen images are paired with many captions of a wrong class; there is no trigger.

Carlini & Terzis, ICLR 2022, arXiv 2106.09667, section 3.1; many images in one model: RoCLIP, arXiv 2303.06854,
section 5 (100 natural captions per image).
Differs: RoCLIP draws its 8 to 16 images from a split that is not trained on. Here they are rows of the pool: a victim's
own caption is replaced by the first adversarial one and the others are appended, so that its only pairs in training are
the attack's. Labels are drawn over all classes but the victim's own, not from a list of eight words, and 100 victims
share one model, so that success can be given with an interval.
Reference code: github.com/BigML-CS-UCLA/RoCLIP at f34a929 (the notebook that makes the poison).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from benchmark.errors import NotApplicable, must
from benchmark.types import BaseAttack, Card, Count, PoisonContext, PoisonRows, Published, Victims

if TYPE_CHECKING:
    import numpy as np


BIBTEX = """
@inproceedings{carlini2022poisoning,
  title = {Poisoning and Backdooring Contrastive Learning},
  author = {Carlini, Nicholas and Terzis, Andreas},
  booktitle = {International Conference on Learning Representations (ICLR)},
  year = {2022}, eprint = {2106.09667}, archiveprefix = {arXiv},
}
"""


class TDPA(BaseAttack):
    """Victims, each with a wrong class drawn for it and captions of that class; so there is no one target."""

    name: ClassVar[str] = "tdpa"
    card: ClassVar[Card] = Card(
        title="TDPA",
        citation="arXiv:2106.09667",
        bibtex=BIBTEX,
        access="data",
        needs=frozenset({"class_names"}),
        summary="Chosen images with captions of a wrong class; no trigger.",
        differs=(Published(field="num_pairs", value=8, source="RoCLIP's code: one image for each of eight words"),),
    )

    num_pairs: Annotated[Count, Field(description="victims, each with a label of its own")] = 100
    captions_per_victim: Annotated[Count, Field(description="pairs of one victim, all its pairs in training")] = 100
    captions: Annotated[
        Literal["templates", "real"],
        Field(description="real: natural captions of the pool that hold the label as a word"),
    ] = "real"
    templates: Annotated[
        Literal["held_out", "as_published"],
        Field(description="held_out: captions of poisoned pairs never use an evaluation prompt"),
    ] = "held_out"

    def check_rows(self, num_rows: int) -> None:
        """Refuses more victims than there are pairs."""
        if self.num_pairs > num_rows:
            raise must("tdpa.num_pairs", f"at most the pool's {num_rows} rows", self.num_pairs, "lower it")

    def poison(self, ctx: PoisonContext) -> PoisonRows:
        """Random victims, each in place with its first caption and appended with the others."""
        import numpy as np

        self.check_rows(ctx.num_rows)
        rows = np.sort(ctx.rng.choice(ctx.num_rows, size=self.num_pairs, replace=False)).astype(np.int64)
        targets = self._labels(ctx, rows)
        each = self.captions_per_victim
        texts = np.empty((len(rows), each), object)
        for label in np.unique(targets):
            place = np.flatnonzero(targets == label)
            texts[place] = np.reshape(self._texts(ctx, ctx.class_names[int(label)], len(place) * each), (-1, each))
        append = np.tile(np.arange(each) > 0, len(rows))
        return PoisonRows(
            np.repeat(rows, each), texts.ravel().tolist(), np.full(texts.size, -1), append, Victims(rows, targets)
        )

    def _texts(self, ctx: PoisonContext, name: str, count: int) -> list[str]:
        if self.captions == "real":
            return ctx.real_captions(name, count)
        return ctx.target_captions(name, count, templates=self.templates)

    def _labels(self, ctx: PoisonContext, rows: np.ndarray) -> np.ndarray:
        """(V,) int64 class for each victim: never its own, by label where there is one, else by its caption."""
        import numpy as np

        names = [name.casefold() for name in ctx.class_names]
        if len(names) < 2:
            raise NotApplicable("tdpa needs class names to draw wrong labels from; this set has fewer than two")
        wrong = np.ones((len(rows), len(names)), bool)
        if ctx.labels is not None:
            wrong[np.arange(len(rows)), ctx.labels[rows]] = False
        else:
            texts = [caption.casefold() for caption in ctx.captions(rows)]
            wrong &= np.array([[name not in text for name in names] for text in texts])
        return np.array([ctx.rng.choice(np.flatnonzero(row)) for row in wrong], np.int64)
