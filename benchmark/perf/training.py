"""Training: the loop against a bare forward-backward-step of the same model."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import nn

from benchmark.config.spec import ModelSpec
from benchmark.data.pools import CachedPool
from benchmark.models.batch_norm import GroupBatchNorm2d
from benchmark.models.clip import ClipModel, build
from benchmark.objectives.mmcl import MMCL
from benchmark.objectives.mmcl_ssl import MMCLSSL
from benchmark.perf.photos import decoded, load_photos
from benchmark.perf.report import Line, Pair, Settings, at_least, paired, seconds
from benchmark.training.loop import EpochEnd, LoopOptions, train
from benchmark.training.optimizer import adamw
from benchmark.training.views import make_inputs
from benchmark.types import Features, Objective, Training, View

PAIRS = 2560
EPOCHS = 7  # the first one warms up
LIMITS = ((MMCL(), 0.9), (MMCLSSL(), 0.8))
_TINY = ModelSpec()


class Resident(NamedTuple):
    """A batch that needs no preparation: every view, normalised and tokenized."""

    images: torch.Tensor  # (k*B, 3, H, W) float32, channels last
    tokens: torch.Tensor  # (k*B, L) int64
    num_pairs: int  # B


def plain(model: ClipModel) -> ClipModel:
    """Puts torch's own BatchNorm back, in place; returns the model."""
    for module in model.network.modules():
        if type(module) is GroupBatchNorm2d:
            module.__class__ = nn.BatchNorm2d  # type: ignore[assignment]
    return model


class BareStep:
    """Forward, backward and AdamW step of the same network and loss, with torch's own BatchNorm and nothing else.

    On a GPU the towers run in bf16, as in our loop.
    """

    def __init__(self, objective: Objective, training: Training, spec: ModelSpec = _TINY, device: str = "cpu") -> None:
        self.model = plain(build(spec, seed=0).to(device)).train()
        self._optimizer, self._objective = adamw(self.model.network, training), objective
        self._rows = torch.arange(training.batch_size, device=device)

    def __call__(self, batch: Resident) -> None:
        """One step."""
        network = self.model.network
        device = self.model.device.type
        with torch.autocast(device, dtype=torch.bfloat16, enabled=device == "cuda"):
            images = network.encode_image(batch.images, normalize=True)  # type: ignore[operator]
            texts = network.encode_text(batch.tokens, normalize=True)  # type: ignore[operator]
        images, texts = images.float().split(batch.num_pairs), texts.float().split(batch.num_pairs)
        again = (images[1], texts[1]) if len(images) > 1 else (None, None)
        features = Features(images[0], texts[0], *again, self.model.logit_scale(), self._rows)
        self._objective.loss(features, {}).total.backward()
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)


def resident(pool: CachedPool, model: ClipModel, views: frozenset[View], *, batch_size: int) -> list[Resident]:
    """Prepares every batch of an epoch ahead of time."""
    found = []
    for batch in pool.epoch(seed=0, epoch=0, batch_size=batch_size):
        inputs = make_inputs(batch, views, model, seed=0, epoch=0, text_frozen=False)
        images = model.normalise(torch.cat(list(inputs.images.values())))
        images = images.contiguous(memory_format=torch.channels_last)
        found.append(Resident(images, torch.cat(list(inputs.tokens.values())), batch_size))
    return found


def epochs_in_turn(pool: CachedPool, objective: Objective, training: Training, other: Callable[[], None]) -> Pair:
    """Epochs of our loop on a fresh model, each followed by one of another side; the first of each warms up."""
    ours, baseline = [], []

    def on_epoch(end: EpochEnd, _: ClipModel) -> None:
        ours.append(end.wall_s)
        baseline.append(seconds(other))

    train(build(ModelSpec(), seed=0), pool, objective, training, seed=0, options=LoopOptions(on_epoch=on_epoch))
    return paired(ours[1:], baseline[1:])


def run(settings: Settings) -> list[Line]:
    """Both objectives at both batch sizes."""
    pool = decoded(load_photos(settings.data, PAIRS))
    return [_line(pool, objective, limit, size) for objective, limit in LIMITS for size in (128, 256)]


def _line(pool: CachedPool, objective: Objective, limit: float, batch_size: int) -> Line:
    training = Training(epochs=EPOCHS, batch_size=batch_size, learning_rate=1e-3)
    bare = BareStep(objective, training)
    batches = resident(pool, bare.model, objective.views, batch_size=batch_size)
    views = sum(len(batch.images) for batch in batches)

    def epoch_of_bare_steps() -> None:
        for batch in batches:
            bare(batch)

    times = epochs_in_turn(pool, objective, training, epoch_of_bare_steps)
    return at_least(
        f"{objective.name}, batch {batch_size} (views/s)",
        f"{views / times.ours:,.0f}",
        f"{views / times.baseline:,.0f}",
        ratio=1 / times.ratio,
        limit=limit,
    )
