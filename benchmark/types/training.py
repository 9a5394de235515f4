"""Training: how one runs, what a loss sees, and objectives, which say what an epoch does."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, NamedTuple, Protocol

from pydantic import Field

from benchmark.types.base import Frozen, Method, Positive, State

if TYPE_CHECKING:
    import numpy as np
    import torch

# "_reference": the embedding that the frozen reference gives the same image or caption as the plain view
View = Literal["image", "text", "image_augmented", "text_augmented", "image_reference", "text_reference"]
# How a view is drawn; see `views.py`. "image" and "text" are shown as they are where a pass says nothing else.
Augmentation = Literal["none", "autoaugment", "simclr", "noise_cutout", "eda"]
AUGMENTATIONS: Mapping[View, Augmentation] = {"image_augmented": "autoaugment", "text_augmented": "eda"}


class Training(Frozen):
    """How one training runs; every objective and repair uses the same loop. All of it may change results."""

    value_versions: ClassVar[Mapping[str, int]] = {"schedule=as_released": 2}  # its warm-up was one step behind

    epochs: Annotated[int, Field(ge=0, description="passes over the pairs")] = 10
    batch_size: Annotated[int, Field(ge=2, description="global contrastive batch")] = 128
    learning_rate: Annotated[float, Field(ge=0, description="peak of AdamW's schedule")] = 5e-4
    weight_decay: Annotated[float, Field(ge=0)] = 0.1
    beta1: Annotated[float, Field(ge=0, lt=1)] = 0.9
    beta2: Annotated[float, Field(ge=0, lt=1)] = 0.999
    eps: Positive = 1e-8
    warmup_steps: Annotated[int, Field(ge=0)] = 50
    schedule: Annotated[
        Literal["cosine", "as_released"],
        Field(description="as_released starts one epoch late, so a warm-up of one epoch or less never happens"),
    ] = "cosine"
    norm_group: Annotated[
        int | None, Field(ge=2, description="samples that share batch statistics; None: the whole global batch")
    ] = None
    text_augmentation: Annotated[
        Literal["per_epoch", "frozen"], Field(description="frozen: one draw for all epochs, as released")
    ] = "per_epoch"
    precision: Annotated[Literal["auto", "fp32", "bf16"], Field(description="auto: bf16 on a GPU, fp32 on a CPU")] = (
        "auto"
    )
    optimizer_state: Annotated[
        Literal["fresh", "inherit"],
        Field(description="inherit: start from pre-training's Adam state and its weight decay, as released"),
    ] = "fresh"
    stop_after: Annotated[
        int | None,
        Field(ge=1, description="epochs that are run of the schedule's `epochs`, where it has more; None: all of them"),
    ] = None
    take: Annotated[
        Literal["last", "lowest_validation_loss"],
        Field(description="which epoch's weights stand; the loss is contrastive, on clean validation pairs of the set"),
    ] = "last"

    @property
    def epochs_run(self) -> int:
        """Passes that are made."""
        return min(self.epochs, self.stop_after or self.epochs)


class Features(NamedTuple):
    """What a loss sees: L2-normalised float32 embeddings of the *global* batch; views not asked for are None."""

    image: torch.Tensor | None  # (G, D)
    text: torch.Tensor | None  # (G, D)
    image_augmented: torch.Tensor | None  # (G, D)
    text_augmented: torch.Tensor | None  # (G, D)
    logit_scale: torch.Tensor  # (), already exponentiated
    rows: torch.Tensor  # (G,) int64 row ids in the pool
    image_reference: torch.Tensor | None = None  # (G, D), without gradient
    text_reference: torch.Tensor | None = None  # (G, D), without gradient
    labels: torch.Tensor | None = None  # (G,) int64 where the pool is labelled
    parameters: Mapping[str, torch.Tensor] = {}  # the objective's own, learnt with the model


class Loss(NamedTuple):
    """A loss, its named parts for the log, and the objective's state after the step."""

    total: torch.Tensor  # ()
    terms: Mapping[str, torch.Tensor]
    state: State


class Pass(NamedTuple):
    """One pass over rows of the pool within an epoch."""

    loss: Callable[[Features, State], Loss]
    views: frozenset[View] = frozenset({"image", "text"})
    rows: np.ndarray | None = None  # None: all rows
    # None: the training's schedule; a number: constant; a function: of the share of this pass that is done, in [0, 1)
    learning_rate: float | Callable[[float], float] | None = None
    trainable: Callable[[str], bool] | None = None  # None: every parameter; else by parameter name
    augmentations: Mapping[View, Augmentation] = AUGMENTATIONS


class Plan(NamedTuple):
    """What one epoch does: its passes, and the objective's state before the first of them."""

    passes: tuple[Pass, ...]
    state: State


class PlanContext(Protocol):
    """What an objective may use when it plans an epoch."""

    @property
    def num_rows(self) -> int:
        """Rows of the pool."""
        ...

    @property
    def seed(self) -> int:
        """Root of the training's randomness."""
        ...

    @property
    def training(self) -> Training:
        """How the training runs: its epochs, batch and peak rate, for a schedule of the objective's own."""
        ...

    def similarities(self, augmentation: Augmentation = "none") -> torch.Tensor:
        """Cosine of image and caption for every row under the model as it stands, in evaluation mode; (N,) float32.

        Args:
            augmentation: of the images; "simclr" also augments the captions (EDA).
        """
        ...


class Objective(Method):
    """A training objective. A pre-training defense is an objective too."""

    kind: ClassVar[str] = "objective"
    views: ClassVar[frozenset[View]] = frozenset({"image", "text"})

    def initial_state(self, *, embed_dim: int, seed: int) -> State:
        """Tensors that the objective carries from step to step (memory banks, …); they are checkpointed."""
        return {}

    def initial_parameters(self, *, embed_dim: int, seed: int) -> State:
        """Tensors that are learnt with the model (a head, a logit bias); matrices decay, vectors and scalars do not."""
        return {}

    def plan(self, epoch: int, state: State, ctx: PlanContext) -> Plan:
        """The passes of one epoch (0-based) and the state to start from. One pass over all rows is the default."""
        return Plan((Pass(loss=self.loss, views=self.views),), state)

    def loss(self, features: Features, state: State) -> Loss:
        """The loss on one global batch."""
        raise NotImplementedError(f"{type(self).__name__} must define `loss`")
