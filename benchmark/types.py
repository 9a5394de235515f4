"""Base classes of the kinds, and the words, shapes and protocols that all of them share.

Shape legend: B samples of a micro-batch, G samples of the global batch, N rows of a pool, C classes, D embedding
size, H and W pixels. Images that are stored are uint8 (B, 3, H, W); images that a method sees are float32 in [0, 1].

A method is a frozen pydantic model: its fields are its hyper-parameters. Its functions are pure in (fields, inputs,
generator); what is learnt is returned as tensors. What it needs of the engine is handed to it in a context.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, NamedTuple, Protocol

from pydantic import BaseModel, ConfigDict, Field

if TYPE_CHECKING:
    import numpy as np
    import torch

    from benchmark.datasets.source import Source

Need = Literal[
    "clean_pairs",  # the defender's clean image-caption pairs
    "labels",  # labels of the clean pairs
    "class_names",
    "suspect_pairs",  # the pairs that the model was pre-trained on
    "reference",  # a frozen copy of the model as it came in
    "optimizer_state",  # the optimiser state that pre-training left behind
    "trigger",  # the true trigger: declared oracles only
]
Access = Literal["data", "training", "weights", "outputs"]
View = Literal["image", "text", "image_augmented", "text_augmented"]
State = dict[str, "torch.Tensor"]

Rate = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]


class Frozen(BaseModel):
    """A typed value: immutable, comparable, and strict about names."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Range(NamedTuple):
    """Search range of a field, written beside it: `Annotated[float, Range(1e-6, 1e-3, log=True)]`."""

    low: float
    high: float
    log: bool = False


class Choices(NamedTuple):
    """Search choices of a field, written beside it."""

    options: tuple[Any, ...]


class Card(Frozen):
    """What a method asks for and knows, and where it comes from. The board never ranks across cards unasked."""

    title: str
    citation: str  # e.g. "arXiv:2303.03323"
    access: Access
    needs: frozenset[Need] = frozenset()
    external: tuple[str, ...] = ()
    summary: str = ""


class Method(Frozen):
    """Base of every method. `name` is the registered name; `version` is raised when results change."""

    kind: ClassVar[str] = ""
    name: ClassVar[str] = ""
    version: ClassVar[int] = 1
    card: ClassVar[Card]
    plugin_source_hash: ClassVar[str | None] = None  # set where the class comes from a single-file plugin

    def identity(self) -> dict[str, Any]:
        """What of this method goes into a content key: fields at their defaults are left out.

        So a field added later leaves old keys alone, and a changed default must raise `version`.
        """
        parts: dict[str, Any] = {"name": self.name, "version": self.version}
        parts["fields"] = self.model_dump(mode="json", exclude_defaults=True)
        source = self.plugin_source_hash
        return parts | ({"source": source} if source else {})

    @property
    def label(self) -> str:
        """Short text for tables: the name and the fields that are not at their defaults."""
        fields = self.model_dump(mode="json", exclude_defaults=True)
        inner = ",".join(f"{key}={value}" for key, value in sorted(fields.items()) if value is not None)
        return f"{self.name}({inner})" if inner else self.name


# --- data ------------------------------------------------------------------------------------------------------


class Dataset(Method):
    """Image-caption pairs and/or labelled images.

    `open` reads and checks the source (never decodes it all); the engine splits it, decodes it once into a
    memory-mapped cache or streams it, and turns labels into captions.
    """

    kind: ClassVar[str] = "dataset"

    def open(self, *, image_size: int) -> Source:
        """Opens the set for images of `image_size` pixels.

        Raises:
            UserError: where files, columns or rows are not as the fields say.
        """
        raise NotImplementedError

    def revision(self) -> str:
        """What pins the content: a hub revision, a content hash of local files, or "" where the fields say all."""
        return ""


# --- training --------------------------------------------------------------------------------------------------


class Training(Frozen):
    """How one training runs; every objective and repair uses the same loop. All of it may change results."""

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
        Field(description="as_released starts one epoch late, so a short warm-up never happens"),
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


class Features(NamedTuple):
    """What a loss sees: L2-normalised float32 embeddings of the *global* batch; views not asked for are None."""

    image: torch.Tensor | None  # (G, D)
    text: torch.Tensor | None  # (G, D)
    image_augmented: torch.Tensor | None  # (G, D)
    text_augmented: torch.Tensor | None  # (G, D)
    logit_scale: torch.Tensor  # (), already exponentiated
    rows: torch.Tensor  # (G,) int64 row ids in the pool


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
    learning_rate: float | None = None  # None: the schedule; else constant
    trainable: Callable[[str], bool] | None = None  # None: every parameter; else by parameter name


class ObjectiveContext(Protocol):
    """What an objective may use when it plans an epoch."""

    @property
    def num_rows(self) -> int:
        """Rows of the pool."""
        ...

    @property
    def seed(self) -> int:
        """Root of the training's randomness."""
        ...

    def similarities(self) -> torch.Tensor:
        """Cosine of image and caption for every row under the model as it stands; (N,) float32."""
        ...


class Objective(Method):
    """A training objective. A pre-training defense is an objective too."""

    kind: ClassVar[str] = "objective"
    views: ClassVar[frozenset[View]] = frozenset({"image", "text"})

    def initial_state(self, *, embed_dim: int, seed: int) -> State:
        """Tensors that the objective carries from step to step (memory banks, …); they are checkpointed."""
        return {}

    def plan(self, epoch: int, state: State, ctx: ObjectiveContext) -> tuple[Pass, ...]:
        """The passes of one epoch (0-based). One pass over all rows is the default."""
        return (Pass(loss=self.loss, views=self.views),)

    def loss(self, features: Features, state: State) -> Loss:
        """The loss on one global batch."""
        raise NotImplementedError


# --- attacks ---------------------------------------------------------------------------------------------------


class PoisonRows(NamedTuple):
    """The rows that an attack replaces or adds. Arrays have one entry per poisoned row."""

    source_rows: np.ndarray  # (M,) int64 rows of the clean pool whose image is used
    captions: Sequence[str]  # (M,) caption after poisoning
    trigger_ids: np.ndarray  # (M,) int64 id handed to `trigger`; -1: no trigger on this row
    append: bool = False  # False: replace the source row in place


class PoisonContext(Protocol):
    """What an attack may use when it poisons a pool."""

    num_rows: int
    class_names: Sequence[str]
    labels: np.ndarray | None  # (N,) int64 where the pool is labelled
    rng: np.random.Generator

    def captions(self, rows: np.ndarray) -> list[str]:
        """Captions of the given rows."""
        ...

    def target_captions(self, target: str, count: int, *, templates: str) -> list[str]:
        """Captions that name the target class; `templates` is "held_out" or "as_published"."""
        ...


class TriggerState(NamedTuple):
    """What a trigger needs besides the image: its random stream and, where it was optimised, its tensors."""

    seed: int
    tensors: Mapping[str, torch.Tensor]


class Attack(Method):
    """A data-poisoning attack with an optional image trigger.

    The base class holds the dirty-label recipe (CleanCLIP, arXiv 2303.03323, section 3): random rows get the trigger
    and a caption of the target class.
    """

    kind: ClassVar[str] = "attack"

    target: Annotated[str, Field(min_length=1, description="name of the target class")]
    poison_rate: Annotated[float, Field(gt=0, lt=1, description="share of the pre-training pairs")] = 0.01
    templates: Annotated[
        Literal["held_out", "as_published"],
        Field(description="held_out: captions of poisoned pairs never use an evaluation prompt"),
    ] = "held_out"

    def fit(self, ctx: Any, *, image_size: int, seed: int) -> State:
        """Learns or draws what the trigger needs; returns tensors. Most triggers need none."""
        return {}

    def poison(self, ctx: PoisonContext) -> PoisonRows:
        """Chooses the rows and their new captions."""
        import numpy as np

        count = max(1, round(self.poison_rate * ctx.num_rows))
        rows = np.sort(ctx.rng.choice(ctx.num_rows, size=count, replace=False)).astype(np.int64)
        captions = ctx.target_captions(self.target, count, templates=self.templates)
        return PoisonRows(rows, captions, rows)

    def trigger(self, images: torch.Tensor, ids: np.ndarray, state: TriggerState) -> torch.Tensor:
        """Stamps the trigger.

        Args:
            images: (B, 3, H, W) float32 in [0, 1]; not modified.
            ids: (B,) int64 sample ids, the only source of per-image randomness beside `state.seed`.
            state: the trigger's seed and tensors.

        Returns:
            (B, 3, H, W) float32; the engine clips it to [0, 1] and rounds it to 8 bits.
        """
        return images


# --- repairs ---------------------------------------------------------------------------------------------------


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


# --- metrics ---------------------------------------------------------------------------------------------------


class Metric(Method):
    """A reduction over the outcome tables of one model; needs no model and no GPU."""

    kind: ClassVar[str] = "metric"
    unit: ClassVar[str] = "share"
    bounds: ClassVar[tuple[float, float]] = (0.0, 1.0)
    higher_is_better: ClassVar[bool | None] = None

    def measure(self, outcomes: Any, *, target: int | None) -> list[Any]:
        """Reduces outcomes to measures.

        Args:
            outcomes: pandas frame with the columns of `records.OUTCOMES`, all conditions of one model.
            target: class index of the attack's target, None without an attack.

        Returns:
            A list of `records.Measure`, one per read-out it applies to; empty where it does not apply.
        """
        raise NotImplementedError
