"""Which workers nobody uses. Nodes of a run and trials of its searches take them from here, in two threads."""

from __future__ import annotations

import threading
import time


class Slots:
    """Numbers of free workers. While `held`, trials get none: something that they may wait for is ready.

    Workers may come and go; a number is given once.
    """

    def __init__(self, count: int = 0, *, replaced: bool = False) -> None:
        """`count` workers are there from the beginning, and free. `replaced`: lost ones are."""
        self.held, self._replaced = False, replaced
        self._free = dict.fromkeys(range(count), time.monotonic())  # slot -> since when
        self._there = set(self._free)
        self._lock = threading.Lock()

    @property
    def count(self) -> int:
        """How many workers there are."""
        return len(self._there)

    def has(self, slot: int) -> bool:
        """Whether a slot was not dropped."""
        return slot in self._there

    @property
    def idle(self) -> int:
        """How many are free."""
        return len(self._free)

    def take(self) -> int | None:
        """The slot that has been free for longest, if there is one."""
        with self._lock:
            slot = next(iter(self._free), None)
            if slot is not None:
                del self._free[slot]
            return slot

    def give(self, slot: int) -> None:
        """Hands a slot back; one that was dropped meanwhile stays away."""
        with self._lock:
            if slot in self._there:
                self._free[slot] = time.monotonic()

    def add(self, slot: int) -> None:
        """A worker has come, and is free."""
        with self._lock:
            self._there.add(slot)
            self._free[slot] = time.monotonic()

    def drop(self, slot: int) -> None:
        """A worker is gone, whether it was free or not."""
        with self._lock:
            self._there.discard(slot)
            self._free.pop(slot, None)

    def lose(self, slot: int) -> None:
        """A worker is lost, or hangs; one that nobody replaces comes back by itself."""
        (self.drop if self._replaced else self.give)(slot)

    def take_rested(self, seconds: float) -> int | None:
        """Takes a slot that has been free for so long, if there is one."""
        with self._lock:
            slot = next((slot for slot, since in self._free.items() if time.monotonic() - since >= seconds), None)
            if slot is not None:
                del self._free[slot]
            return slot
