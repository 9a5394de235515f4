"""What a method may use, gated by its card: asking for what the card does not name is an error."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from benchmark.contexts.handed import handed
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


class Gate(NamedTuple):
    """What a card opens. Closures, so that no attribute of a context, private or not, leads to what it keeps shut."""

    ask: Callable[[Need], Any]  # raises CardError for what the card does not name
    clean_pairs_used: Callable[[], int]  # how many were handed out


def gate(card: Card, inputs: MethodInputs) -> Gate:
    """The gate of a method with this card."""
    needs, asked, clean = frozenset(card.needs), set[Need](), inputs.clean_pairs
    found: Mapping[Need, Callable[[], Any]] = {
        "clean_pairs": lambda: handed(clean if "labels" in needs else clean.unlabelled()),
        "labels": lambda: clean.labels,
        "class_names": lambda: inputs.class_names,
        "suspect_pairs": lambda: handed(inputs.suspect_pairs()),
        "training_pairs": inputs.training_pairs,
        "reference": lambda: inputs.model,
        "optimizer_state": inputs.optimizer_state,
        "trigger": lambda: inputs.trigger,
        "segmenter": lambda: None,
        "auxiliary_model": inputs.auxiliary_model,
    }

    def ask(need: Need) -> Any:
        if need not in needs:
            raise CardError(f"{card.title} asked for {need!r}, which its card does not name; add it to card.needs")
        asked.add(need)
        return found[need]()

    return Gate(ask, lambda: clean.num_rows if "clean_pairs" in asked else 0)


class GatedContext:
    """The engine's side of `types.DefenderContext`. It holds functions alone, and nothing that the card keeps shut."""

    def __init__(self, card: Card, inputs: MethodInputs, *, seed: int) -> None:
        self.card, self.seed = card, seed
        self._ask, self._clean_pairs_used = gate(card, inputs)
        self._text_head = lambda model: text_head(as_clip(model), inputs.class_names, inputs.templates).weights
        self._of_suspect = lambda model: inputs.suspect_features if model is inputs.model else None
        self._frozen: ClipModel | None = None
        self._suspect_pairs: Pool | None = None
        self._generator = seeded(derive_seed(seed, "repair"))

    def __getattr__(self, name: str) -> Any:
        """What is not there: a clear line for those who look behind a context.

        Raises:
            AttributeError: always.
        """
        if hasattr(type(self), name):  # a property that failed so: its own error tells more
            return object.__getattribute__(self, name)
        card = self.__dict__.get("card")
        title = card.title if card else type(self).__name__
        raise AttributeError(f"{title} asked for {name!r}, which no context has; see benchmark.types.RepairContext")

    @property
    def clean_pairs_used(self) -> int:
        """How many clean pairs the method was handed; for the record."""
        return self._clean_pairs_used()

    @property
    def clean_pairs(self) -> Pool:
        """The defender's clean image-caption pairs; their labels too, where the card names them."""
        return self._ask("clean_pairs")

    @property
    def labels(self) -> np.ndarray:
        """(N,) int64 labels of the clean pairs.

        Raises:
            NotApplicable: the set has captions only.
        """
        labels = self._ask("labels")
        if labels is None:
            raise NotApplicable(f"{self.card.title} needs labels of the clean pairs; this set has captions only")
        return labels

    @property
    def suspect_pairs(self) -> Pool:
        """The pairs that the model was pre-trained on, poison and all."""
        if self._suspect_pairs is None:
            found: Pool = self._ask("suspect_pairs")
            self._suspect_pairs = found
        return self._suspect_pairs

    @property
    def training_pairs(self) -> Pool:
        """For attackers: the pre-training pairs before any poison."""
        return self._ask("training_pairs")

    @property
    def trigger(self) -> Trigger:
        """The true trigger and its target.

        Raises:
            NotApplicable: the model was not attacked, or without a trigger.
        """
        found = self._ask("trigger")
        if found is None or found.apply is None or found.target is None:
            raise NotApplicable(f"{self.card.title} needs the true trigger; this model was not attacked with one")
        return Trigger(found.apply, found.target)

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes that the model will be asked about."""
        return self._ask("class_names")

    @property
    def reference(self) -> ClipModel:
        """A frozen copy of the model as it came in."""
        if self._frozen is None:
            given: ClipModel = self._ask("reference")
            self._frozen = given.clone().eval()
            self._frozen.network.requires_grad_(False)
        return self._frozen

    @property
    def auxiliary_model(self) -> ClipModel:
        """A clean model from outside, in evaluation mode."""
        return self._ask("auxiliary_model")

    def segmenter(self, name: str, weights: str | None = None) -> Segmenter:
        """A segmenter by name.

        Raises:
            NotApplicable: its weights or its library are not there.
        """
        from benchmark.models import segmenters

        self._ask("segmenter")
        return segmenters.build(name, weights)

    @property
    def generator(self) -> torch.Generator:
        """A CPU generator, seeded for this method in this cell."""
        return self._generator

    @torch.no_grad()
    def head(self, model: Model) -> torch.Tensor:
        """(C, D) zero-shot head over the class names, without gradient."""
        return self._text_head(model)

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
        stored = self._of_suspect(model) if pool is self._suspect_pairs else None
        found = stored() if stored else pair_features(model, pool)
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
