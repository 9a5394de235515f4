"""SafeCLIP: whole epochs against the same passes without banks, scoring and mixture.

Both sides train on the same rows, in the same two passes, with the same views, augmentations and cross-entropies; ours
asks the banks for neighbours, scores all pairs and fits the mixture besides.
"""

from __future__ import annotations

from benchmark.config.spec import ModelSpec
from benchmark.models.clip import build
from benchmark.objectives.safeclip import SafeCLIP
from benchmark.objectives.ssl import picks
from benchmark.perf.photos import decoded, load_photos
from benchmark.perf.report import Line, Settings, at_most
from benchmark.perf.training import epochs_in_turn
from benchmark.training.loop import train
from benchmark.types import Features, Loss, Plan, PlanContext, State, Training

PAIRS, BATCH, BANK_SIZE, LIMIT = 2560, 128, 256, 1.25
EPOCHS = 5  # the first one warms up


def run(settings: Settings) -> list[Line]:
    """Epochs after the warm-ups, each followed by the same passes without the bookkeeping."""
    pool = decoded(load_photos(settings.data, PAIRS))
    plans: list[Plan] = []

    class Recorded(SafeCLIP):
        """Remembers what each epoch's passes were."""

        def plan(self, epoch: int, state: State, ctx: PlanContext) -> Plan:
            plans.append(super().plan(epoch, state, ctx))
            return plans[-1]

    class Bare(SafeCLIP):
        """The last of them again, without banks, scoring and mixture."""

        def plan(self, epoch: int, state: State, ctx: PlanContext) -> Plan:
            losses = {"unimodal": self.plain, "crossmodal": self.crossmodal}
            return Plan(tuple(one._replace(loss=losses[one.loss.__name__]) for one in plans[-1].passes), state)

        def plain(self, features: Features, state: State) -> Loss:
            assert features.image is not None and features.image_augmented is not None
            assert features.text is not None and features.text_augmented is not None
            image = picks(features.image_augmented, features.image.detach(), features.logit_scale)
            text = picks(features.text_augmented, features.text.detach(), features.logit_scale)
            return Loss((image + text) / 2, {}, state)

    training = Training(epochs=EPOCHS, batch_size=BATCH, learning_rate=1e-3)
    other = build(ModelSpec(), seed=0)

    def epoch_of_bare_passes() -> None:
        train(other, pool, Bare(bank_size=1), training.model_copy(update={"epochs": 1}), seed=0)

    objective = Recorded(unimodal_epochs=0, slow_epochs=0, bank_size=BANK_SIZE)
    times = epochs_in_turn(pool, objective, training, epoch_of_bare_passes)
    return [
        at_most(
            f"epoch of {PAIRS:,} pairs (s)",
            f"{times.ours:.2f}",
            f"{times.baseline:.2f}",
            ratio=times.ratio,
            limit=LIMIT,
        )
    ]
