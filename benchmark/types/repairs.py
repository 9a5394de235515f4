"""Repairs: from a suspect model to a repaired one, and what a repair may use."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from benchmark.types.base import Method
from benchmark.types.training import Objective, Training

if TYPE_CHECKING:
    import numpy as np
    import torch


class RepairContext(Protocol):
    """What a repair may use; whatever its card does not name raises CardError."""

    seed: int

    @property
    def clean_pairs(self) -> Any:
        """The defender's clean pairs, a pool."""
        ...

    @property
    def labels(self) -> np.ndarray:
        """(N,) int64 labels of the clean pairs."""
        ...

    @property
    def suspect_pairs(self) -> Any:
        """The pairs that the model was pre-trained on, poison and all; a pool."""
        ...

    @property
    def trigger(self) -> Any:
        """The true trigger: `apply(uint8 images, ids)` and `target`, the class index. For declared oracles."""
        ...

    @property
    def class_names(self) -> Sequence[str]:
        """Names of the classes that the model will be asked about."""
        ...

    @property
    def reference(self) -> Any:
        """A frozen copy of the model as it came in."""
        ...

    @property
    def generator(self) -> torch.Generator:
        """A generator seeded for this repair of this cell."""
        ...

    def fit(self, model: Any, pairs: Any, objective: Objective, training: Training) -> Any:
        """Trains a copy of the model with the one training loop; reports every epoch; returns the trained copy."""
        ...

    def encode_images(self, model: Any, images: torch.Tensor) -> torch.Tensor:
        """(B, 3, H, W) float32 in [0, 1] -> (B, D) L2-normalised, with gradient where the caller enables it."""
        ...

    def logits(self, model: Any, images: torch.Tensor) -> torch.Tensor:
        """(B, 3, H, W) -> (B, C) zero-shot logits over `class_names`."""
        ...

    def report(self, epoch: int, model: Any, *, training_loss: float = ..., learning_rate: float = ...) -> None:
        """Measures an epoch on validation and keeps the weights that a selection rule now prefers."""
        ...


class Repair(Method):
    """A repair of a suspect model. `strength` names the field that makes it stronger, if one does."""

    kind: ClassVar[str] = "repair"
    strength: ClassVar[str | None] = None

    def repair(self, model: Any, ctx: RepairContext) -> Any:
        """Returns the repaired model; the input is never modified."""
        raise NotImplementedError
