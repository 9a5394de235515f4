"""Which workers nobody uses. Nodes of a run and trials of its searches take them from here, in two threads."""

from __future__ import annotations

import threading


class Slots:
    """Numbers of free workers. While `held`, trials get none: something that they may wait for is ready."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.held = False
        self._free = list(range(count))
        self._lock = threading.Lock()

    @property
    def idle(self) -> int:
        """How many are free."""
        return len(self._free)

    def take(self) -> int | None:
        """A free slot, if there is one."""
        with self._lock:
            return self._free.pop(0) if self._free else None

    def give(self, slot: int) -> None:
        """Hands a slot back."""
        with self._lock:
            self._free.append(slot)
