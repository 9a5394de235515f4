"""What a method may use, gated by its card: asking for what the card does not name is an error."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch

from benchmark.data.pools import CachedPool, PoisonedPool
from benchmark.errors import CardError, NotApplicable
from benchmark.evaluation.evaluate import Condition, text_head
from benchmark.models.activations import stage_outputs
from benchmark.models.clip import ClipModel, as_clip
from benchmark.models.mode import evaluation_mode
from benchmark.rng import generator as seeded
from benchmark.store.keys import derive_seed
from benchmark.types import Card, Model, Need, PairFeatures, Pool, Segmenter, Training, Trigger

ENCODE_BATCH = 256


def _none_outside() -> ClipModel:
    raise NotApplicable("there is no clean model from outside")


class MethodInputs(NamedTuple):
    """What there is; the card decides what a method sees of it."""

    model: ClipModel  # the suspect model, as it came in
    clean_pairs: CachedPool | PoisonedPool
    class_names: tuple[str, ...]
    templates: tuple[str, ...]
    optimizer_state: Callable[[], tuple[dict[str, torch.Tensor], Training]]
    suspect_pairs: Callable[[], Pool]
    training_pairs: Callable[[], Pool]  # before any poison
    suspect_features: Callable[[], PairFeatures]  # of the suspect model on the suspect pairs, not normalised
    trigger: Condition | None  # the true one, with its target; for declared oracles
    auxiliary_model: Callable[[], ClipModel] = _none_outside  # a clean model that is not the suspect


class GatedContext:
    """The engine's side of `types.DefenderContext`."""

    def __init__(self, card: Card, resources: MethodInputs, *, seed: int) -> None:
        self.card, self.seed = card, seed
        self._resources = resources
        self.clean_pairs_used = 0
        self._frozen: ClipModel | None = None
        self._suspect_pairs: Pool | None = None
        self._generator = seeded(derive_seed(seed, "repair"))

    def _need(self, name: Need) -> MethodInputs:
        """What there is, for a method whose card names `name`."""
        if name not in self.card.needs:
            raise CardError(f"{self.card.title} asked for {name!r}, which its card does not name; add it to card.needs")
        return self._resources

    @property
    def clean_pairs(self) -> CachedPool | PoisonedPool:
        """The defender's clean image-caption pairs; their labels too, where the card names them."""
        pool = self._need("clean_pairs").clean_pairs
        self.clean_pairs_used = pool.num_rows
        return pool if "labels" in self.card.needs else pool.unlabelled()

    @property
    def labels(self) -> np.ndarray:
        """(N,) int64 labels of the clean pairs.

        Raises:
            NotApplicable: the set has captions only.
        """
        labels = self._need("labels").clean_pairs.labels
        if labels is None:
            raise NotApplicable(f"{self.card.title} needs labels of the clean pairs; this set has captions only")
        return labels

    @property
    def suspect_pairs(self) -> Pool:
        """The pairs that the model was pre-trained on, poison and all."""
        if self._suspect_pairs is None:
            self._suspect_pairs = self._need("suspect_pairs").suspect_pairs()
        return self._suspect_pairs

    @property
    def training_pairs(self) -> Pool:
        """For attackers: the pre-training pairs before any poison."""
        return self._need("training_pairs").training_pairs()

    @property
    def trigger(self) -> Trigger:
        """The true trigger and its target.

        Raises:
            NotApplicable: the model was not attacked, or without a trigger.
        """
        found = self._need("trigger").trigger
        if found is None or found.apply is None or found.target is None:
            raise NotApplicable(f"{self.card.title} needs the true trigger; this model was not attacked with one")
        return Trigger(found.apply, found.target)

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes that the model will be asked about."""
        return self._need("class_names").class_names

    @property
    def reference(self) -> ClipModel:
        """A frozen copy of the model as it came in."""
        if self._frozen is None:
            self._frozen = self._need("reference").model.clone().eval()
            self._frozen.network.requires_grad_(False)
        return self._frozen

    @property
    def auxiliary_model(self) -> ClipModel:
        """A clean model from outside, in evaluation mode."""
        return self._need("auxiliary_model").auxiliary_model()

    def segmenter(self, name: str, weights: str | None = None) -> Segmenter:
        """A segmenter by name.

        Raises:
            NotApplicable: its weights or its library are not there.
        """
        from benchmark.models import segmenters

        self._need("segmenter")
        return segmenters.build(name, weights)

    @property
    def generator(self) -> torch.Generator:
        """A CPU generator, seeded for this method in this cell."""
        return self._generator

    @torch.no_grad()
    def head(self, model: Model) -> torch.Tensor:
        """(C, D) zero-shot head over the class names, without gradient."""
        return text_head(as_clip(model), self._resources.class_names, self._resources.templates).weights

    def logits(self, model: Model, images: torch.Tensor) -> torch.Tensor:
        """(B, 3, H, W) -> (B, C) zero-shot logits over the class names."""
        return model.logit_scale() * model.encode_images(images) @ self.head(model).T

    def encode_images(self, model: Model, images: torch.Tensor) -> torch.Tensor:
        """(B, 3, H, W) float32 in [0, 1] -> (B, D) L2-normalised."""
        return model.encode_images(images)

    def activations(self, model: Model, images: torch.Tensor) -> Mapping[str, torch.Tensor]:
        """Outputs of the image tower's stages by name, first to last."""
        return stage_outputs(as_clip(model), images)

    def features(self, model: Model, pool: Pool, *, normalised: bool = True) -> PairFeatures:
        """Embeddings of all pairs of a pool; those of the suspect model on the suspect pairs are made once a run."""
        whole = model is self._resources.model and pool is self._suspect_pairs
        found = self._resources.suspect_features() if whole else pair_features(model, pool)
        if not normalised:
            return found
        return PairFeatures(*(torch.nn.functional.normalize(part, dim=1) for part in found))

    def pairs(self, images: torch.Tensor, captions: Sequence[str]) -> CachedPool:
        """A pool of given pairs: (N, 3, H, W) uint8 images and N captions."""
        return CachedPool(images.permute(0, 2, 3, 1).contiguous().cpu().numpy(), list(captions), None)


@torch.inference_mode()
def pair_features(model: Model, pool: Pool) -> PairFeatures:
    """Embeddings of every pair, (N, D) float32 on the CPU, not normalised, in evaluation mode."""
    images, texts = [], []
    with evaluation_mode(model):
        for batch in pool.in_order(ENCODE_BATCH):
            images.append(model.encode_images(batch.images, normalised=False).cpu())
            texts.append(model.encode_captions(batch.captions, normalised=False).cpu())
    return PairFeatures(torch.cat(images), torch.cat(texts))
