"""ABL, anti-backdoor learning, on pairs: what is learnt too fast is set aside first and unlearnt in the end.

Li et al.: Anti-Backdoor Learning: Training Clean Models on Poisoned Data, NeurIPS 2021, arXiv 2110.11571, section 3.
Differs: a port from classification. Its cross-entropy becomes each pair's InfoNCE, and gamma (0.5 for ten classes)
keeps its share of the loss of a blind guess: log(batch) in place of log(10). Local gradient ascent, sign(l - g) l, and
flooding, |l - g| + g, have the same gradient; the second is what is logged. A pair's score "loss" is the one it was
trained on in the last isolation epoch: in training mode, under that step's weights, among its batch. The released code
scores in a pass of its own after that epoch, in evaluation mode and each image alone. So does "cosine", with the cosine
under the model, as a pair alone has no InfoNCE. For the same reason unlearning sees the isolated pairs among others and
takes the ascent of theirs.
Variant "as_released" (the default) is the code's in the rest: gamma for the mean of a batch, then training without the
isolated pairs, and in the last epochs ascent on these alone, at 1/200 of the peak rate (5e-4 of 0.1). Variant
"as_intended" is the paper's: gamma for each pair, and after isolation every step descends on the rest and ascends on
the isolated pairs; that ascent has no bound, and where clean pairs were isolated it costs the model.
Limits: InfoNCE has a floor that cross-entropy has not. Where captions tell classes apart and nothing else, it is
log(batch / classes), 2.6 for 128 pairs of ten classes, and a flood below it (gamma 0.5 stands for 1.05) never starts:
raise gamma, or isolate in the few epochs in which the trigger is known and the classes are not. Triggers that are
learnt later than the classes (warps) are not among the lowest losses in any epoch. The ascent costs accuracy by the
clean pairs that were isolated.
Reference code: github.com/bboylyg/ABL at 3fd736c (backdoor_isolation.py, backdoor_unlearning.py, config.py).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from benchmark.errors import NotApplicable
from benchmark.types import (
    Card,
    Count,
    Features,
    Loss,
    Objective,
    Pass,
    Plan,
    PlanContext,
    Positive,
    Published,
    Rate,
    State,
)

if TYPE_CHECKING:
    import torch

BIBTEX = """
@inproceedings{li2021abl,
  title = {Anti-Backdoor Learning: Training Clean Models on Poisoned Data},
  author = {Li, Yige and Lyu, Xixiang and Koren, Nodens and Lyu, Lingjuan and Li, Bo and Ma, Xingjun},
  booktitle = {Advances in Neural Information Processing Systems (NeurIPS)},
  year = {2021}, eprint = {2110.11571}, archiveprefix = {arXiv},
}
"""

NUM_CLASSES = 10  # of the published experiments, for which gamma was chosen


class ABL(Objective):
    """Floods the loss, isolates the pairs with the lowest one, trains on the rest and ascends on the isolated ones."""

    name: ClassVar[str] = "abl"
    version: ClassVar[int] = 2
    card: ClassVar[Card] = Card(
        title="ABL",
        citation="arXiv:2110.11571",
        bibtex=BIBTEX,
        access="training",
        summary="Isolates the pairs that are learnt fastest under a flooded loss, then unlearns them.",
        differs=(Published(field="variant", value="as_intended", source="the paper"),),
    )

    variant: Literal["as_released", "as_intended"] = "as_released"
    gamma: Annotated[Positive, Field(description="level of the flood, for ten classes")] = 0.5
    isolation_epochs: Count = 10
    isolation_rate: Annotated[Rate, Field(gt=0, description="share of the pairs that is isolated")] = 0.01
    score: Literal["loss", "cosine"] = "loss"
    unlearning_epochs: Annotated[Count, Field(description="last epochs of as_released")] = 5
    unlearning_learning_rate_share: Annotated[Positive, Field(description="of the peak rate, as_released")] = 0.005

    def plan(self, epoch: int, state: State, ctx: PlanContext) -> Plan:
        """Isolation, then what the variant does with the isolated pairs and the rest."""
        import torch

        released = self.variant == "as_released"
        needed, epochs = self.isolation_epochs + (self.unlearning_epochs if released else 0), ctx.training.epochs
        if epochs <= needed:
            raise NotApplicable(f"ABL needs more than its {needed} epochs of isolation and unlearning, got {epochs}")
        if epoch == 0:
            state = state | {"scores": torch.full((ctx.num_rows,), math.inf)}
        if epoch < self.isolation_epochs:
            return Plan((Pass(self.flooded),), state)
        if epoch == self.isolation_epochs:
            state = state | {"isolated": self._lowest(state, ctx)}
        isolated = state["isolated"].cpu().numpy()
        if not released:
            return Plan((Pass(self.contrary),), state)
        if epoch < epochs - self.unlearning_epochs:
            return Plan((Pass(self.plain, rows=np.flatnonzero(~isolated)),), state)
        # among as many others, and a whole batch at least
        among = max(2 * isolated.sum(), ctx.training.batch_size) - isolated.sum()
        others = np.random.default_rng([ctx.seed, epoch]).permutation(np.flatnonzero(~isolated))[:among]
        rows = np.concatenate((np.flatnonzero(isolated), others))
        rate = self.unlearning_learning_rate_share * ctx.training.learning_rate
        return Plan((Pass(self.ascent, rows=rows, learning_rate=rate),), state)

    def flooded(self, features: Features, state: State) -> Loss:
        """InfoNCE held at the flood's level, by pair or by batch."""
        losses = pair_losses(features)
        level = self.gamma * math.log(len(losses)) / math.log(NUM_CLASSES)
        total = ((losses if self.variant == "as_intended" else losses.mean()) - level).abs().mean() + level
        scores = state["scores"].index_put((features.rows,), losses.detach())
        return Loss(total, {"flooded": total}, state | {"scores": scores})

    def plain(self, features: Features, state: State) -> Loss:
        """InfoNCE."""
        total = pair_losses(features).mean()
        return Loss(total, {"mmcl": total}, state)

    def ascent(self, features: Features, state: State) -> Loss:
        """Minus the loss of the isolated pairs."""
        total = -_mean(pair_losses(features), state["isolated"][features.rows])
        return Loss(total, {"isolated": -total}, state)

    def contrary(self, features: Features, state: State) -> Loss:
        """The loss of the rest minus that of the isolated pairs."""
        losses, isolated = pair_losses(features), state["isolated"][features.rows]
        rest, unlearnt = _mean(losses, ~isolated), _mean(losses, isolated)
        return Loss(rest - unlearnt, {"mmcl": rest, "isolated": unlearnt}, state)

    def _lowest(self, state: State, ctx: PlanContext) -> torch.Tensor:
        """(N,) bool: the share of the pairs with the lowest scores."""
        import torch

        scores = state["scores"] if self.score == "loss" else -ctx.similarities().to(state["scores"])
        isolated = torch.zeros_like(scores, dtype=torch.bool)
        isolated[scores.argsort(stable=True)[: max(1, round(self.isolation_rate * ctx.num_rows))]] = True
        return isolated


def pair_losses(features: Features) -> torch.Tensor:
    """(G,) InfoNCE of each pair, the mean of both directions."""
    assert features.image is not None and features.text is not None
    logits = features.logit_scale * features.image @ features.text.T
    return (logits.logsumexp(0) + logits.logsumexp(1)) / 2 - logits.diagonal()


def _mean(losses: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
    """The mean of the chosen ones; 0 where there are none."""
    return (losses * chosen).sum() / chosen.sum().clamp(min=1)
