"""The workers of a run on Ray: started as they are wanted and the cluster has room, ended when they rest for long."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import ray
from ray import exceptions

from benchmark.config.compute_options import ComputeOptions
from benchmark.engine.ray_slots import Shape, offers_of, shape_of
from benchmark.errors import UserError, reason_of
from tuners.slots import Slots

LOOK_S = 5.0  # how often the cluster is asked which nodes it has
REST_S = 60.0  # how long a worker rests before its node is given back
PATIENCE_S = 5.0  # before it is said what a run waits for
MOST_LOST = 3  # workers in a row that died before they were ready
BUSY_S = 60.0  # a worker that has not come by then, though a node has room for it, waits for others to leave


class Ready(NamedTuple):
    """A worker has answered for the first time, or cannot be started."""

    slot: int
    reference: Any


class WorkerPool:
    """Warm workers, one a slot. One that dies or hangs is ended, and another started in its place, where there is room.

    A Ray that was started for this run has all its workers at once. On a cluster that was joined they are asked for as
    they are wanted, which has an autoscaler rent nodes, and ended when they rest, which has it give them back.
    """

    def __init__(
        self,
        options: ComputeOptions,
        *,
        own: bool,
        make: Callable[[int, Shape], Any],
        tell: Callable[[Ready], None],
        say: Callable[[str], None],
    ) -> None:
        """A pool of the Ray that this process has joined.

        Args:
            options: what the user asks for.
            own: whether this Ray was started for the run.
            make: starts the worker of a slot.
            tell: called when a worker is ready, in another thread.
            say: prints a line.

        Raises:
            UserError: a slot that is larger than every node.
        """
        self.slots = Slots(replaced=True)
        self.environment: dict[str, Any] = {}  # of the first worker
        self._options, self._own = options, own
        self._make, self._tell, self._say = make, tell, say
        self._handles: dict[int, Any] = {}
        self._starting: dict[int, float] = {}  # slot -> when it was asked for
        self._began = time.monotonic()
        self._numbers = self._lost = 0
        self._told = ""
        self._enough = self._began  # when there last were not too many
        self._shape: Shape | None = None
        self._look()

    def _look(self) -> None:
        """Asks which nodes there are. What a slot is stays as it was found first; how many there may be changes."""
        self._looked = time.monotonic()
        nodes = ray.nodes()
        self._nodes = offers_of(nodes, rent=False)
        offers = offers_of(nodes)
        if self._shape is None:
            self._shape = shape_of(self._options, offers, fixed=self._own)
        elif not self._options.concurrency:
            # where the last node has gone, its workers wait for another
            self._shape = self._shape._replace(most=self._shape.on(offers) or self._shape.most)

    @property
    def shape(self) -> Shape:
        """What a slot is, and how many there may be; nothing, as long as no node says."""
        return self._shape or Shape(0.0, 0.0, 1, 0)

    @property
    def there(self) -> list[int]:
        """Slots that have a worker, on its way or warm."""
        return list(self._handles)

    def handle(self, slot: int) -> Any:
        """The worker of a slot."""
        return self._handles[slot]

    def scale(self, wanted: int, *, lent: int = 0, grow: bool = True) -> None:
        """Starts workers, or ends some that rest.

        Args:
            wanted: slots that would have something to do.
            lent: slots whose place worker groups have taken.
            grow: False leaves the room that there is to the next group.
        """
        if time.monotonic() - self._looked >= LOOK_S:
            self._look()
        for slot in [slot for slot in self._handles if not (slot in self._starting or self.slots.has(slot))]:
            self.end(slot)  # a trial has lost it
        count = max(0, (self.shape.most if self._own else min(wanted, self.shape.most)) - lent)
        while grow and len(self._handles) < count:
            self._start()
        if not self._own:
            self._shrink(count)
        self._tell_waiting()

    def room(self, lent: int) -> int:
        """How many slots neither a worker nor a group has."""
        return max(0, self.shape.most - len(self._handles) - lent)

    def _start(self) -> None:
        slot, self._numbers = self._numbers, self._numbers + 1
        worker = self._handles[slot] = self._make(slot, self.shape)
        self._starting[slot] = time.monotonic()
        reference = worker.ready.remote()
        reference.future().add_done_callback(lambda _: self._tell(Ready(slot, reference)))

    def _shrink(self, count: int) -> None:
        """Ends workers beyond `count`, once there have been too many for long: those on their way, those that rest."""
        now = time.monotonic()
        if len(self._handles) <= count:
            self._enough = now
        if now - self._enough < REST_S:  # a worker that warms up would be missed in a moment
            return
        for slot in list(self._starting)[: max(0, len(self._handles) - count)]:
            self.end(slot)
        while len(self._handles) > count and (slot := self.slots.take_rested(REST_S)) is not None:
            self.end(slot)

    def take_in(self, ready: Ready) -> None:
        """A worker is warm: its slot is free from now on. One that was lost before is replaced.

        Raises:
            UserError: its node does not see the store.
            RuntimeError: it cannot be started.
        """
        if self._starting.pop(ready.slot, None) is None:
            return  # ended meanwhile
        try:
            found: Any = ray.get(ready.reference)
        except exceptions.RayError as error:
            cause = getattr(error, "cause", None)
            if isinstance(cause, UserError):
                raise cause from None
            self._lost += 1
            if getattr(error, "actor_init_failed", False) or self._lost >= MOST_LOST:
                raise RuntimeError(f"a worker could not start: {reason_of(error)}") from error
            self.end(ready.slot)  # its node has gone, or had no memory left
            return
        self._lost = 0
        self.environment = self.environment or found
        self._told = ""
        self.slots.add(ready.slot)

    def end(self, slot: int) -> None:
        """Ends the worker of a slot, whatever it does; what it held is free."""
        self.slots.drop(slot)
        self._starting.pop(slot, None)
        worker = self._handles.pop(slot, None)
        if worker is not None:
            ray.kill(worker)

    def close(self) -> None:
        """Ends all of them."""
        for slot in list(self._handles):
            self.end(slot)

    def _tell_waiting(self) -> None:
        """Says once what the first worker waits for."""
        if self.slots.count or (self._shape and not self._starting):
            return
        waited = time.monotonic() - min(self._starting.values(), default=self._began)
        text = self._why(waited) if waited >= PATIENCE_S else ""
        if text and text != self._told:
            self._told = text
            self._say(text)

    def _why(self, waited: float) -> str:
        if self._shape is None:
            return "waiting for a node; where an autoscaler rents them, say what is wanted: --gpus or --cpus"
        if not any(self._shape.fits(node) for node in self._nodes):
            return f"waiting for a node with {self._shape}"
        return f"waiting for {self._shape} on a node: all are in use" if waited >= BUSY_S else ""
