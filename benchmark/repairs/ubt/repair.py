"""UBT: overfits the least similar pairs so that poison gives itself away, then unlearns the words that carry it.

Liang et al., "Unlearning Backdoor Threats", arXiv 2403.16257, and Liu et al., arXiv 2409.19526. A re-implementation,
not author-verified; there is no public code. (a) Pairs are ranked by cosine under the suspect model, the lowest
`suspect_rate` are suspicious. (b) A copy is overfitted on them, with the CLIP loss, beside the CLIP loss on normal
pairs. (c) Those that become most similar are taken for poison. (d) Their image is pushed away, (cos + 1)^2, from the
words of the caption that carry the link alone, so that the rest of the caption keeps its meaning.
Differs: sizes, rates and weights are not published; those here are ours, as is the choice of words, the `num_words`
whose removal lowers the overfitted copy's similarity most. Unlearning runs beside the CLIP loss on normal pairs, as in
the code below, whose own default, (cos - 1)^2, would strengthen the link. It stops, and goes back, when accuracy falls
by more than `max_drop` on normal pairs whose caption names one class: the accuracy that the method can know.
`rank="gain"` takes the rise of the similarity in (c) for its value: captions of few classes collide within a batch, so
that the similarity itself says little. BatchNorm keeps its running statistics.
Reference code: github.com/LiangSiyuan21/BadCLIP at 241dbec (src/train.py, src/parser.py), for (d).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from benchmark.objectives.mmcl import contrastive
from benchmark.repairs.ubt.words import accuracy, carrying, named
from benchmark.types import Card, Model, PairBatch, Pool, Range, Rate, Repair, RepairContext

if TYPE_CHECKING:
    import numpy as np
    import torch

BIBTEX = """
@article{liang2024ubt,
  title = {Unlearning Backdoor Threats: Enhancing Backdoor Defense in Multimodal Contrastive Learning via Local
    Token Unlearning},
  author = {Liang, Siyuan and Liu, Kuanrong and Gong, Jiajun and Liang, Jiawei and Xun, Yuan and Chang, Ee-Chien and
    Cao, Xiaochun},
  journal = {arXiv preprint arXiv:2403.16257},
  year = {2024}, eprint = {2403.16257}, archiveprefix = {arXiv},
}
"""

CHECK_STEPS = 10  # unlearning steps between two measurements
READ_AT_ONCE = 256
WATCHED = 512  # normal pairs, of which those that name a class are classified


class UBT(Repair):
    """Unlearns what it takes for poison; stronger as the learning rate grows."""

    name: ClassVar[str] = "ubt"
    strength: ClassVar[str | None] = "learning_rate"
    card: ClassVar[Card] = Card(
        title="UBT",
        citation="arXiv:2403.16257",
        bibtex=BIBTEX,
        access="weights",
        needs=frozenset({"suspect_pairs", "class_names"}),
        summary="Overfits weakly similar pairs, unlearns the words of those that become similar; needs no clean data.",
    )

    learning_rate: Annotated[float, Field(ge=0, description="of unlearning"), Range(1e-7, 1e-3, log=True)] = 1e-6
    max_steps: Annotated[int, Field(ge=1, description="of unlearning")] = 100
    max_drop: Annotated[Rate, Field(description="of accuracy on named normal pairs, at which it stops")] = 0.01
    suspect_rate: Annotated[float, Field(gt=0, lt=1, description="share of the pairs, the least similar")] = 0.01
    overfit_epochs: Annotated[int, Field(ge=0)] = 5
    overfit_learning_rate: Annotated[float, Field(ge=0)] = 1e-6
    rank: Annotated[Literal["similarity", "gain"], Field(description="after overfitting; gain: its rise")] = (
        "similarity"
    )
    num_unlearn: Annotated[int, Field(ge=2, description="pairs to unlearn")] = 64
    num_words: Annotated[int, Field(ge=1, description="words of a caption that are unlearnt")] = 2
    normal_weight: Annotated[float, Field(ge=0, description="of the CLIP loss on normal pairs")] = 1.0
    batch_size: Annotated[int, Field(ge=2)] = 64

    def repair(self, model: Model, ctx: RepairContext) -> Model:
        """Returns the copy that has unlearnt."""
        import numpy as np
        import torch

        pool, features = ctx.suspect_pairs, ctx.features(model, ctx.suspect_pairs)
        before = (features.image * features.text).sum(1)
        order = before.argsort().numpy()
        count = min(max(2, round(self.suspect_rate * len(order))), len(order) - 2)
        suspects, normal = np.sort(order[:count]), np.sort(order[count:])
        shortcut, after = self._overfitted(model, pool, suspects, normal, ctx)
        value = after - before[suspects] if self.rank == "gain" else after
        poison = suspects[value.argsort(descending=True)[: self.num_unlearn].numpy()]
        found = pool.take(poison)
        words = carrying(shortcut, found.images, found.captions, self.num_words)
        ctx.note(suspects=torch.from_numpy(suspects), unlearnt=torch.from_numpy(poison), words=sorted(set(words)))
        return self._unlearn(model, found.images, words, batches(pool, normal, self.batch_size, ctx.seed), ctx)

    def _overfitted(
        self, model: Model, pool: Pool, suspects: np.ndarray, normal: np.ndarray, ctx: RepairContext
    ) -> tuple[Model, torch.Tensor]:
        """A copy that fits the suspicious pairs, and their cosines (n,) under it."""
        import torch

        copy = model.clone().eval()
        optimizer = torch.optim.AdamW(copy.network.parameters(), lr=self.overfit_learning_rate, weight_decay=0.0)
        others = batches(pool, normal, self.batch_size, ctx.seed + 1)
        size = min(self.batch_size, len(suspects))
        for epoch in range(self.overfit_epochs):
            for batch in pool.epoch(seed=ctx.seed, epoch=epoch, batch_size=size, rows=suspects):
                loss = clip_loss(copy, batch) + self.normal_weight * clip_loss(copy, next(others))
                descend(optimizer, loss)
        with torch.no_grad():
            parts = [pool.take(suspects[i : i + READ_AT_ONCE]) for i in range(0, len(suspects), READ_AT_ONCE)]
            cosines = [(copy.encode_images(p.images) * copy.encode_captions(p.captions)).sum(1) for p in parts]
        return copy, torch.cat(cosines).cpu()

    def _unlearn(
        self, model: Model, images: torch.Tensor, words: Sequence[str], others: Iterator[PairBatch], ctx: RepairContext
    ) -> Model:
        import torch

        repaired, kept = model.clone().eval(), model.clone().eval()
        seen = [next(others) for _ in range(-(-WATCHED // self.batch_size))]
        calm = torch.cat([batch.images for batch in seen])
        labels = named([caption for batch in seen for caption in batch.captions], ctx.class_names)
        start = accuracy(repaired, calm, labels, ctx)
        optimizer = torch.optim.AdamW(repaired.network.parameters(), lr=self.learning_rate, weight_decay=0.0)
        order = torch.arange(0)
        for step in range(1, self.max_steps + 1):
            if not len(order):
                order = torch.randperm(len(images), generator=ctx.generator)
            at, order = order[: self.batch_size], order[self.batch_size :]
            cosines = repaired.encode_images(images[at]) * repaired.encode_captions([words[int(i)] for i in at])
            forgotten = (cosines.sum(1) + 1).square().mean()
            loss = forgotten + self.normal_weight * clip_loss(repaired, next(others))
            descend(optimizer, loss)
            if step % CHECK_STEPS and step < self.max_steps:
                continue
            if accuracy(repaired, calm, labels, ctx) < start - self.max_drop:
                ctx.note(stopped_at=step)
                break
            kept.network.load_state_dict(repaired.network.state_dict())
            number = -(-step // CHECK_STEPS)
            ctx.report(number, kept, training_loss=float(loss.detach()), learning_rate=self.learning_rate)
        return kept.train(model.training)


def clip_loss(model: Model, batch: PairBatch) -> torch.Tensor:
    """The symmetric contrastive loss () of a batch of pairs."""
    return contrastive(model.encode_images(batch.images), model.encode_captions(batch.captions), model.logit_scale())


def descend(optimizer: torch.optim.Optimizer, loss: torch.Tensor) -> None:
    """One step."""
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()


def batches(pool: Pool, rows: np.ndarray, batch_size: int, seed: int) -> Iterator[PairBatch]:
    """Batches of the given rows, epoch after epoch, without end."""
    epoch = 0
    while True:
        yield from pool.epoch(seed=seed, epoch=epoch, batch_size=min(batch_size, len(rows)), rows=rows)
        epoch += 1
