"""What an objective sees when it plans an epoch."""

from __future__ import annotations

from typing import NamedTuple

import torch

from benchmark.data.pools import TrainingPool
from benchmark.models.clip import ClipModel
from benchmark.models.mode import evaluation_mode
from benchmark.store.keys import derive_seed
from benchmark.training.views import make_inputs
from benchmark.types import Augmentation, Training, View

SCORED_AT_ONCE = 256


class EpochContext(NamedTuple):
    """The engine's side of `types.PlanContext`: what an objective may ask of model and pairs before an epoch."""

    model: ClipModel
    pool: TrainingPool
    seed: int
    training: Training
    epoch: int

    @property
    def num_rows(self) -> int:
        """Pairs of the pool."""
        return self.pool.num_rows

    @torch.inference_mode()
    def similarities(self, augmentation: Augmentation = "none") -> torch.Tensor:
        """(N,) float32 cosine of image and caption of every row."""
        parts = []
        policies: dict[View, Augmentation] = {"image": augmentation}
        if augmentation == "simclr":
            policies["text"] = "eda"
        views: frozenset[View] = frozenset({"image", "text"})
        draws = {"seed": derive_seed(self.seed, "similarities"), "epoch": self.epoch, "text_frozen": False}
        with evaluation_mode(self.model):
            for batch in self.pool.in_order(SCORED_AT_ONCE):
                inputs = make_inputs(batch, views, self.model, **draws, augmentations=policies)
                images = self.model.encode_images(inputs.images["image"])
                texts = self.model.encode_tokens(inputs.tokens["text"])
                parts.append((images * texts).sum(1).cpu())
        return torch.cat(parts)
