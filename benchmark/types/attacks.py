"""Attacks: which pairs are poisoned, and the trigger."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, NamedTuple, Protocol

from pydantic import Field

from benchmark.errors import must
from benchmark.types.base import Method, State, Transform

if TYPE_CHECKING:
    import numpy as np
    import torch

    from benchmark.types.contexts import RepairContext
    from benchmark.types.models import Model


class Victims(NamedTuple):
    """The images that a targeted attack is judged on. Their only pairs in training are the attack's."""

    rows: np.ndarray  # (V,) int64 rows of the clean pool
    targets: np.ndarray  # (V,) int64 class index that each is to be taken for


class PoisonRows(NamedTuple):
    """The rows that an attack replaces or adds. Arrays have one entry per poisoned row."""

    source_rows: np.ndarray  # (M,) int64 rows of the clean pool whose image is used
    captions: Sequence[str]  # (M,) caption after poisoning
    trigger_ids: np.ndarray  # (M,) int64 id handed to `trigger`; -1: no trigger on this row
    append: bool | np.ndarray = False  # (M,) bool, or one for all; False: replace the source row in place
    victims: Victims | None = None  # set by attacks on chosen images instead of a trigger


class PoisonContext(Protocol):
    """What an attack may use when it poisons a pool."""

    class_names: Sequence[str]
    rng: np.random.Generator

    @property
    def num_rows(self) -> int:
        """Rows of the pool."""
        ...

    @property
    def labels(self) -> np.ndarray | None:
        """(N,) int64 where the pool is labelled."""
        ...

    def captions(self, rows: np.ndarray) -> list[str]:
        """Captions of the given rows."""
        ...

    def target_captions(self, target: str, count: int, *, templates: str) -> list[str]:
        """Captions that name the target class; `templates` is "held_out" or "as_published"."""
        ...

    def real_captions(self, target: str, count: int) -> list[str]:
        """Captions of the pool that hold the target as a word, drawn with replacement."""
        ...

    def rows_naming(self, target: str) -> np.ndarray:
        """(K,) int64 rows of the class `target`: by label where the pool has labels, else by caption."""
        ...

    def images(self, rows: np.ndarray) -> torch.Tensor:
        """(B, 3, H, W) uint8 images of rows of a cached pool."""
        ...

    @property
    def surrogate(self) -> Model:
        """A clean model of the victim's family, trained with MMCL on the attacker's own pairs (card: "surrogate")."""
        ...


class TriggerState(NamedTuple):
    """What a trigger needs besides the image: its random stream and, where it was optimised, its tensors."""

    seed: int
    tensors: Mapping[str, torch.Tensor]


TargetName = Annotated[str, Field(min_length=1, description="name of the target class")]


class BaseAttack(Method):
    """What every attack has, and all that the engine asks of one. Most attacks derive from `Attack`."""

    kind: ClassVar[str] = "attack"

    # How the suspect model is changed before the attack shows; None: it shows at once.
    transform: ClassVar[Transform | None] = None

    @property
    def target_name(self) -> str | None:
        """The class that triggered images are to be taken for: the field `target`; None where there is no such one."""
        return getattr(self, "target", None)

    def check_rows(self, num_rows: int) -> None:
        """Refuses a number of pairs that it cannot poison. Asked before anything is computed; loads no torch.

        Raises:
            UserError: which field does not suit `num_rows`.
        """

    def check_image_size(self, image_size: int) -> None:
        """Refuses images (pixels of their sides) that the trigger does not fit on. See `check_rows`."""

    def fit(self, ctx: PoisonContext, *, image_size: int, seed: int) -> State:
        """Learns or draws what the trigger needs; returns tensors. Most triggers need none."""
        return {}

    def poison(self, ctx: PoisonContext) -> PoisonRows:
        """Chooses the rows and their new captions; here none."""
        import numpy as np

        none = np.empty(0, np.int64)
        return PoisonRows(none, [], none)

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


class Attack(BaseAttack):
    """A data-poisoning attack with an image trigger.

    It holds the dirty-label recipe (CleanCLIP, arXiv 2303.03323, section 3): random rows get the trigger and a caption
    of the target class.
    """

    target: TargetName
    poison_rate: Annotated[float, Field(gt=0, lt=1, description="share of the pre-training pairs")] = 0.01
    templates: Annotated[
        Literal["held_out", "as_published"],
        Field(description="held_out: captions of poisoned pairs never use an evaluation prompt"),
    ] = "held_out"
    captions: Annotated[
        Literal["templates", "real"],
        Field(description="real: natural captions of the pool that hold the target as a word"),
    ] = "templates"

    def num_poisoned(self, num_rows: int) -> int:
        """Pairs to poison among `num_rows`, at least one."""
        return max(1, round(self.poison_rate * num_rows))

    def check_rows(self, num_rows: int) -> None:
        """Refuses a rate that rounds to no pair at all."""
        if not round(self.poison_rate * num_rows):
            rule = f"at least {1 / num_rows:.2g} to poison one of {num_rows} pairs"
            raise must(f"{self.name}.poison_rate", rule, self.poison_rate, "raise it, or use more pre-training pairs")

    def poison(self, ctx: PoisonContext) -> PoisonRows:
        """Random rows, each with the trigger and a caption of the target."""
        import numpy as np

        count = self.num_poisoned(ctx.num_rows)
        rows = np.sort(ctx.rng.choice(ctx.num_rows, size=count, replace=False)).astype(np.int64)
        return PoisonRows(rows, self.poison_captions(ctx, count), rows)

    def poison_captions(self, ctx: PoisonContext, count: int) -> list[str]:
        """Captions that name the target, as the fields say."""
        if self.captions == "real":
            return ctx.real_captions(self.target, count)
        return ctx.target_captions(self.target, count, templates=self.templates)


class ModelAttack(BaseAttack):
    """An attack on the weights themselves: it takes the clean twin and returns the model that the victim gets.

    It poisons no pairs. Where `transform` is set, the backdoor shows only in the transformed model.
    """

    target: TargetName

    def implant(self, model: Model, ctx: RepairContext) -> Model:
        """Returns the attacked model; the input is never modified.

        Args:
            model: the clean twin.
            ctx: its card may name "training_pairs" and "trigger" (its own).
        """
        raise NotImplementedError(f"{type(self).__name__} must define `implant`")
