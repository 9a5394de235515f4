"""What a run is made of: nodes, each of which makes one thing from others, and the stages that know how. No torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, NamedTuple

from benchmark.stages.cells import Cell
from benchmark.stages.common import Compute, Tick
from benchmark.store.artifacts import Store
from benchmark.store.schemas import Status
from benchmark.types.base import Part

Rows = Callable[[Cell], int]  # pairs that a cell's model is trained on, as far as known


class Ref(NamedTuple):
    """Names a node; where its stage keeps artifacts, also the artifact."""

    stage: str
    key: str


class Ended(NamedTuple):
    """How a node ended."""

    status: Status
    reason: str = ""
    wall_s: float = 0.0
    facts: Mapping[str, Any] = {}  # of what it made

    @property
    def ok(self) -> bool:
        """Whether what waits for it can go on."""
        return self.status == "ok"


@dataclass(frozen=True, slots=True)
class Node:
    """One thing to make."""

    stage: Stage
    key: str
    label: str
    inputs: tuple[Ref, ...] = ()  # in the order of the stages, so that the first that failed is the first cause
    after: tuple[Ref, ...] = ()  # must have ended too, well or not; how they did is told to `run`
    work: float = 0.0  # forward views of images
    arguments: tuple[Any, ...] = ()  # what `run` needs beside the key; pickles
    batch: str = ""  # nodes of one batch that are ready together are run together

    @property
    def ref(self) -> Ref:
        """Its name."""
        return Ref(self.stage.name, self.key)


@dataclass(frozen=True)
class Workplace:
    """What a stage is given to run a node with."""

    store: Store
    compute: Compute = field(default_factory=Compute)
    tick: Tick = lambda what, share: None
    ended: Mapping[Ref, Ended] = field(default_factory=dict)  # how the nodes in `after` ended
    suite: str = ""
    environment: Callable[[], Mapping[str, Any]] = dict


class Stage(Part):
    """One kind of thing that a run makes. `name` is part of every key, and the store's folder.

    A stage has no state. What needs torch is imported when a node is run, so that a plan can be made without it.
    """

    name: ClassVar[str]
    title: ClassVar[str]  # as progress and plan call it
    rank: ClassVar[int] = 0  # of what is ready, lower ranks go first
    place: ClassVar[Literal["slot", "driver", "search"]] = "slot"
    shown: ClassVar[bool] = True  # in plans; what costs nothing would only lengthen them
    counts_for: ClassVar[str] = ""  # the stage for which work is set aside here, before its nodes are known
    paced_by: ClassVar[str] = "pretrain"  # the stage whose past times tell how long its work takes
    finished: ClassVar[bool] = False  # whether cells that have their final record need it too
    of_model: ClassVar[bool] = False  # whether all defenses of a model need the same nodes of it
    lasting: ClassVar[bool] = True  # whether what the store holds of it is not made again

    def nodes(self, cell: Cell, rows: Rows) -> Iterable[Node]:
        """The nodes that a cell needs of this stage, and others for these alone, as far as a plan can know."""
        raise NotImplementedError

    def run(self, nodes: Sequence[Node], at: Workplace) -> Mapping[str, Any]:
        """Makes the nodes (one, or a batch), and commits what is kept; what it returns is told to who comes `after`.

        Raises:
            Exception: what went wrong; `errors.status_of` says which status it means.
        """
        raise NotImplementedError

    def label(self, nodes: Sequence[Node]) -> str:
        """How progress calls what runs: one node, or a batch."""
        return nodes[0].label

    def then(self, node: Node, ended: Ended) -> Iterable[Node]:
        """What only the result tells: further nodes, or further inputs of nodes that have not begun."""
        return ()

    def ahead(self, node: Node, store: Store) -> Iterable[Node] | None:
        """What `then` will give, as far as the store tells before the node has run: a plan counts it in its place.

        None where nothing is known: then the node's own work counts, for the stage that `counts_for` names.
        """
        return None

    def notes(self, node: Node, store: Store) -> Iterable[str]:
        """Lines that a user should read once the node is there, also where it was there before."""
        return ()
