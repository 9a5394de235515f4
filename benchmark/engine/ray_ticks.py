"""How far the running tasks are: told by workers, read by the driver. Nothing hangs on it: it may die and come back."""

from __future__ import annotations

from typing import Any

import ray
from ray.exceptions import RayError

Tick = tuple[str, float, str, float]  # label, work, what it is doing, share done


class Ticks:
    """Keeps what was told last, as an actor beside the driver."""

    def __init__(self) -> None:
        self._fresh: dict[str, Tick] = {}

    def tick(self, key: str, label: str, work: float, what: str, share: float) -> None:
        """Notes one task's progress."""
        self._fresh[key] = (label, work, what, share)

    def drain(self) -> dict[str, Tick]:
        """What is new since the last call."""
        fresh, self._fresh = self._fresh, {}
        return fresh


class TickReader:
    """Reads from `Ticks` without waiting for it."""

    def __init__(self, ticks: Any) -> None:
        """`ticks`: its handle."""
        self._ticks = ticks
        self._asked: Any = ticks.drain.remote()

    def fresh(self) -> dict[str, Tick]:
        """What is new, by task; nothing where it does not answer."""
        if not ray.wait([self._asked], timeout=0)[0]:
            return {}
        asked, self._asked = self._asked, self._ticks.drain.remote()
        try:
            found: Any = ray.get(asked)
        except RayError:
            return {}
        return found
