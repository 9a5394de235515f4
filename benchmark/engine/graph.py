"""The nodes of a run, united by name: what is ready, what waits, and how each ended. Runs nothing, reads no store."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from benchmark.stages.cells import Cell
from benchmark.stages.node import Ended, Node, Ref, Rows, Stage


def nodes_of(cells: Iterable[Cell], stages: Sequence[Stage], rows: Rows) -> Iterator[tuple[Cell, Node]]:
    """What cells need of stages, each node with a cell that needs it; what all defenses of a model share comes once."""
    seen: set[tuple[str | None, ...]] = set()
    for cell in cells:
        keys = cell.keys
        model = (keys.pretrain, keys.poison, keys.evaluation, keys.outside, keys.retrained)
        for stage in stages:
            if not (stage.of_model and model in seen):
                yield from ((cell, node) for node in stage.nodes(cell, rows))
        seen.add(model)


def late_nodes(
    cells: Iterable[Cell], left: Iterable[Cell], stages: Sequence[Stage], rows: Rows
) -> Iterator[tuple[Cell, Node]]:
    """What those of the cells still need that are not `left`: they have their final record."""
    waiting = {cell.keys.record for cell in left}
    done = [cell for cell in cells if cell.keys.record not in waiting]
    return nodes_of(done, [stage for stage in stages if stage.finished], rows)


class NodeGraph:
    """A node is ready when all that it waits for has ended; where one of its inputs failed, it fails with that.

    An input that is no node of the graph is an artifact that is there already, such as what a trial wrote.
    """

    def __init__(self) -> None:
        self.nodes: dict[Ref, Node] = {}
        self.ended: dict[Ref, Ended] = {}
        self.running: set[Ref] = set()
        self._ready: set[Ref] = set()
        self._missing: dict[Ref, set[Ref]] = {}  # node -> what it still waits for
        self._followers: defaultdict[Ref, set[Ref]] = defaultdict(set)
        self._paths: dict[Ref, float] = {}

    @property
    def done(self) -> bool:
        """Whether every node has ended."""
        return len(self.ended) == len(self.nodes)

    def add(self, nodes: Iterable[Node]) -> list[Node]:
        """Takes nodes in; the same name twice is one node, which waits for what either waits for.

        Returns:
            Those that were not there before.
        """
        fresh, touched = [], []
        for node in nodes:
            known = self.nodes.get(node.ref)
            if known is None:
                fresh.append(node)
            elif node.ref in self.ended or node.ref in self.running:
                continue
            else:
                inputs, after = (*known.inputs, *node.inputs), (*known.after, *node.after)
                node = replace(known, inputs=tuple(dict.fromkeys(inputs)), after=tuple(dict.fromkeys(after)))
            self.nodes[node.ref] = node
            touched.append(node.ref)
        self._paths.clear()
        for ref in touched:  # now that all are there that came together
            self._connect(ref)
        return fresh

    def _connect(self, ref: Ref) -> None:
        node = self.nodes[ref]
        waits = {item for item in (*node.inputs, *node.after) if item in self.nodes and item not in self.ended}
        for item in waits:
            self._followers[item].add(ref)
        self._missing[ref] = waits
        self._ready.discard(ref)
        if not waits:
            self._ready.add(ref)

    def ready(self) -> list[Node]:
        """What may begin, the most urgent first: by rank, then by the work that hangs on it."""
        found = [self.nodes[ref] for ref in self._ready]
        # the key last, so that equal runs go the same way
        return sorted(found, key=lambda node: (node.stage.rank, -self._path(node.ref), node.key))

    def cause(self, node: Node) -> Ended | None:
        """Why a ready node cannot be made: what befell the first of its inputs that failed."""
        failed = (self.ended[ref] for ref in node.inputs if ref in self.ended and not self.ended[ref].ok)
        first = next(failed, None)
        return first and Ended(first.status, first.reason)

    def stuck(self) -> list[Node]:
        """The nodes that can never begin, where nothing runs and nothing is ready: they wait for each other."""
        if self.running or self._ready:
            return []
        return [node for ref, node in self.nodes.items() if ref not in self.ended]

    def begin(self, ref: Ref) -> None:
        """A node runs."""
        self._ready.discard(ref)
        self.running.add(ref)

    def end(self, ref: Ref, ended: Ended) -> None:
        """A node has ended, well or not; it need not have begun."""
        self._ready.discard(ref)
        self.running.discard(ref)
        self.ended[ref] = ended
        for follower in self._followers.pop(ref, ()):
            self._missing[follower].discard(ref)
            if not self._missing[follower] and follower not in self.ended and follower not in self.running:
                self._ready.add(follower)

    def of(self, ref: Ref) -> dict[Ref, Ended]:
        """How the nodes in a node's `after` ended, in their order."""
        return {item: self.ended[item] for item in self.nodes[ref].after if item in self.ended}

    def _path(self, ref: Ref) -> float:
        """Work of the longest chain that begins with a node."""
        if ref not in self._paths:
            self._paths[ref] = 0.0  # so that a circle ends
            rest = max((self._path(item) for item in self._followers.get(ref, ())), default=0.0)
            self._paths[ref] = self.nodes[ref].work + rest
        return self._paths[ref]
