"""What every method is made of: frozen fields, search ranges beside them, a card, an identity."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, Field

from benchmark.errors import UserError, unknown
from benchmark.validation import validated

if TYPE_CHECKING:
    import torch

Need = Literal[
    "clean_pairs",  # the defender's clean image-caption pairs
    "labels",  # labels of the clean pairs
    "class_names",
    "suspect_pairs",  # the pairs that the model was pre-trained on
    "reference",  # a frozen copy of the model as it came in
    "optimizer_state",  # the optimiser state that pre-training left behind
    "trigger",  # the true trigger: declared oracles only
    "segmenter",  # a model from outside that cuts an image into regions
    "surrogate",  # attackers: a clean model of the victim's family that has seen none of the victim's pairs
    "auxiliary_model",  # defenders: the same, a clean model from outside
    "training_pairs",  # attackers: the clean pre-training pairs
]
Access = Literal["data", "training", "weights", "outputs"]
State = dict[str, "torch.Tensor"]
Transform = Literal["int8", "bf16", "prune10"]  # of a model, before it is evaluated

Rate = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]


class Frozen(BaseModel):
    """A typed value: immutable, comparable, and strict about names."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    # `field=value` -> version of that choice, raised where its results change and those of other choices do not
    value_versions: ClassVar[Mapping[str, int]] = {}

    def versions_in_use(self) -> dict[str, dict[str, int]]:
        """What content keys hold beside the fields: the versions of chosen values, or nothing."""
        if not self.value_versions:
            return {}
        chosen = {f"{name}={value}" for name, value in self}
        found = {choice: version for choice, version in self.value_versions.items() if choice in chosen}
        return {"value_versions": found} if found else {}


class _Range(NamedTuple):
    low: float
    high: float
    log: bool = False


class Range(_Range):
    """Search range of a field, written beside it: `Annotated[float, Range(1e-6, 1e-3, log=True)]`.

    Raises:
        ValueError: low is not below high, or not positive on a logarithmic scale.
    """

    def __new__(cls, low: float, high: float, log: bool = False) -> Self:
        """A range from low to high."""
        if not low < high:
            raise ValueError(f"Range must have low below high, got low {low} and high {high}")
        if log and low <= 0:
            raise ValueError(f"Range must have low above 0 where log is true, got low {low}")
        return super().__new__(cls, low, high, log)


class Choices(NamedTuple):
    """Search choices of a field, written beside it."""

    options: tuple[Any, ...]


class Published(Frozen):
    """A field whose default is not what a source of the method has."""

    field: str
    value: int | float | str  # there; words where the field could not hold it
    source: str  # short: the paper, the released code, …

    def __str__(self) -> str:
        """In one line, as lists and boards show it."""
        return f"{self.field} {self.value} ({self.source})"


class Card(Frozen):
    """What a method asks for and knows, and where it comes from. The board never ranks across cards unasked."""

    title: str  # short: the method's name in every table and figure
    citation: str  # e.g. "arXiv:2303.03323"
    bibtex: str = ""  # full entries of what to cite where its rows are shown
    access: Access
    needs: frozenset[Need] = frozenset()  # with any fields; what one choice of them asks for is `Method.needs`
    external: tuple[str, ...] = ()
    summary: str = ""
    control: str = ""  # what a control shows beside the methods it stands with; "" where the method is none
    differs: tuple[Published, ...] = ()  # from the defaults; what differs otherwise is said at the head of the file


_REMEDIES = {
    "kind": "write it where methods of its kind stand",
    "name": "name the class that is meant",
    "version": "results differ: take the release that has it, or leave the version out to use the one here",
    "value_versions": "results differ: take the release that has it, or leave both versions out to use the ones here",
    "source": "give the file that it was with --plugin",
}


class Part:
    """What a plugin may define beside methods: a part of the machinery, such as a stage. The engine finds it."""


class Method(Frozen):
    """Base of every method. `name` is the registered name; `version` is raised when results change."""

    kind: ClassVar[str] = ""
    name: ClassVar[str] = ""
    version: ClassVar[int] = 1
    card: ClassVar[Card]
    plugin_source_hash: ClassVar[str | None] = None  # set where the class comes from a single-file plugin

    @property
    def needs(self) -> frozenset[Need]:
        """What the method asks for with these fields; override it where a variant asks for less than the card names."""
        return self.card.needs

    @property
    def own_card(self) -> Card:
        """The card of the method as it stands: what these fields ask for, and where they differ from what is published.

        Nothing else than it needs is handed out.
        """
        differs = tuple(item for item in self.card.differs if getattr(self, item.field) != item.value)
        return self.card.model_copy(update={"needs": self.needs, "differs": differs})

    def identity(self) -> dict[str, Any]:
        """What of this method goes into a content key: fields at their defaults are left out.

        So a field added later leaves old keys alone, and a changed default must raise `version`. Where one choice of a
        field changes what it does, `value_versions` moves the keys of those who choose it, and no others.
        """
        parts: dict[str, Any] = {"name": self.name, "version": self.version}
        parts["fields"] = self.model_dump(mode="json", exclude_defaults=True)
        source = self.plugin_source_hash
        return parts | self.versions_in_use() | ({"source": source} if source else {})

    def to_dict(self) -> dict[str, Any]:
        """The method on paper, as JSON: kind, name, versions and every field; of a plugin, its source's hash too."""
        written = {"kind": self.kind, "name": self.name, "version": self.version} | self.versions_in_use()
        source = {"source": self.plugin_source_hash} if self.plugin_source_hash else {}
        return written | source | {"fields": self.model_dump(mode="json")}

    @classmethod
    def from_dict(cls, written: Mapping[str, Any]) -> Self:
        """Rebuilds a method of this class from what `to_dict` wrote. A person may leave out all but the fields.

        Raises:
            UserError: a kind, name, version or source that is not this class's, or fields that do not fit.
        """
        place = f"{cls.kind} {cls.name}"
        built = validated(cls, written.get("fields", {}), place=place)
        here = {part: value for part, value in built.to_dict().items() if part != "fields"}
        asked = {part: value for part, value in written.items() if part != "fields"}
        nothing: dict[str, int] = {}
        if "version" in asked:  # whoever names the version names those of single values, or there were none
            asked = {"value_versions": nothing} | asked
        for part, value in asked.items():
            if part not in _REMEDIES:
                raise UserError(f"{place}: {unknown('entry', part, [*_REMEDIES, 'fields'])}")
            if value != (own := here.get(part, nothing if part == "value_versions" else None)):
                raise UserError(f"{place} must be of {part} {own}, as here, got {value}; {_REMEDIES[part]}")
        return built

    @property
    def label(self) -> str:
        """Short text for tables: the name and the fields that are not at their defaults."""
        fields = self.model_dump(mode="json", exclude_defaults=True)
        inner = ",".join(f"{key}={value}" for key, value in sorted(fields.items()) if value is not None)
        return f"{self.name}({inner})" if inner else self.name
