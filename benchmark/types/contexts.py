"""What the engine hands to a method: resources that its card must name, and services that are there for all."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from benchmark.types.training import Objective, Training

if TYPE_CHECKING:
    import numpy as np
    import torch

    from benchmark.types.models import Model
    from benchmark.types.pools import Pool


class PairFeatures(NamedTuple):
    """Embeddings of all pairs of a pool, in the order of its rows."""

    image: torch.Tensor  # (N, D) float32
    text: torch.Tensor  # (N, D) float32


class Trigger(NamedTuple):
    """A trigger as it is stamped on images that are shown to a model."""

    apply: Callable[[torch.Tensor, np.ndarray], torch.Tensor]  # (B, 3, H, W) uint8 and (B,) int64 ids -> uint8
    target: int  # class index that triggered images are to be taken for


class Segmenter(Protocol):
    """A model from outside that cuts images into regions."""

    name: str

    def regions(self, images: torch.Tensor) -> list[torch.Tensor]:
        """(B, 3, H, W) uint8 -> per image (R, H, W) bool masks, R may be 0; they may overlap."""
        ...


class DefenderContext(Protocol):
    """What a detector, a repair or a model attack may use; what its card does not name raises CardError."""

    seed: int

    # Resources: `card.needs` must name them.

    @property
    def clean_pairs(self) -> Pool:
        """The defender's clean pairs, a pool; its `labels` are None unless the card names "labels"."""
        ...

    @property
    def labels(self) -> np.ndarray:
        """(N,) int64 labels of the clean pairs; NotApplicable where the set has captions only."""
        ...

    @property
    def suspect_pairs(self) -> Pool:
        """The pairs that the model was pre-trained on, poison and all; a pool."""
        ...

    @property
    def training_pairs(self) -> Pool:
        """For attackers: the pre-training pairs before any poison; a pool."""
        ...

    @property
    def trigger(self) -> Trigger:
        """The true trigger, for declared oracles and attackers; NotApplicable where there is none."""
        ...

    @property
    def class_names(self) -> Sequence[str]:
        """Names of the classes that the model will be asked about."""
        ...

    @property
    def reference(self) -> Model:
        """A frozen copy of the model as it came in."""
        ...

    @property
    def auxiliary_model(self) -> Model:
        """A clean model from outside, of the suspect's family, in evaluation mode; it has seen no suspect pair."""
        ...

    def segmenter(self, name: str, weights: str | None = None) -> Segmenter:
        """A segmenter by name; NotApplicable where it needs weights that are not there."""
        ...

    @property
    def generator(self) -> torch.Generator:
        """A CPU generator seeded for this method in this cell."""
        ...

    def head(self, model: Model) -> torch.Tensor:
        """(C, D) zero-shot head over `class_names` with the evaluation's prompts, without gradient."""
        ...

    def logits(self, model: Model, images: torch.Tensor) -> torch.Tensor:
        """(B, 3, H, W) -> (B, C) zero-shot logits; in a loop, call `head` once and multiply yourself."""
        ...

    def encode_images(self, model: Model, images: torch.Tensor) -> torch.Tensor:
        """(B, 3, H, W) float32 in [0, 1] -> (B, D) L2-normalised, with gradient where the caller enables it."""
        ...

    def activations(self, model: Model, images: torch.Tensor) -> Mapping[str, torch.Tensor]:
        """Outputs of the image tower's stages by name, first to last, with gradient where enabled.

        Convolutional towers: (B, C, h, w) per stage; transformers: (B, T, W) per block, the class token first.
        """
        ...

    def features(self, model: Model, pool: Pool, *, normalised: bool = True) -> PairFeatures:
        """Embeddings of all pairs of a pool; those of the suspect model on the suspect pairs are made once a run."""
        ...

    def pairs(self, images: torch.Tensor, captions: Sequence[str]) -> Pool:
        """A pool of given pairs: (N, 3, H, W) uint8 images and N captions."""
        ...


class RepairContext(DefenderContext, Protocol):
    """What a repair or a model attack may use besides."""

    def fit(
        self,
        model: Model,
        pairs: Pool,
        objective: Objective,
        training: Training,
        *,
        rows: np.ndarray | None = None,
        report: bool = True,
    ) -> Model:
        """Trains a copy of the model with the one training loop; reports every epoch; returns the trained copy.

        Args:
            model: what to start from.
            pairs: a pool.
            objective: what to minimise; its "_reference" views need "reference" on the card.
            training: epochs, batch, schedule.
            rows: rows of the pool to train on; None: all.
            report: False for a training on the way, whose epochs are no candidates for a selection rule.
        """
        ...

    def report(self, epoch: int, model: Model, *, training_loss: float = ..., learning_rate: float = ...) -> None:
        """Measures an epoch on validation and keeps the weights that a selection rule now prefers."""
        ...

    def note(self, **findings: Any) -> None:
        """Keeps what the method found on its way (target, trigger, victims, …): numbers, texts, or tensors."""
        ...
