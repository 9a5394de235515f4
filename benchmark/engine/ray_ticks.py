"""How far tasks are, and which workers live: told by workers, read by the driver. Its actor may die and come back."""

from __future__ import annotations

from typing import Any, NamedTuple

import ray
from ray.exceptions import RayError

Tick = tuple[str, float, str, float]  # label, work, what it is doing, share done


class Told(NamedTuple):
    """What is new since the last time."""

    ticks: dict[str, Tick]  # by task
    beats: set[int]  # slots whose workers gave a sign of life


class Ticks:
    """Keeps what was told last, as an actor beside the driver."""

    def __init__(self) -> None:
        self._fresh = Told({}, set())

    def tick(self, key: str, label: str, work: float, what: str, share: float) -> None:
        """Notes one task's progress."""
        self._fresh.ticks[key] = (label, work, what, share)

    def beat(self, slot: int) -> None:
        """Notes that a worker lives."""
        self._fresh.beats.add(slot)

    def drain(self) -> Told:
        """What is new since the last call."""
        fresh, self._fresh = self._fresh, Told({}, set())
        return fresh


class TickReader:
    """Reads from `Ticks` without waiting for it."""

    def __init__(self, ticks: Any) -> None:
        """`ticks`: its handle."""
        self._ticks = ticks
        self._asked: Any = ticks.drain.remote()

    def fresh(self) -> Told | None:
        """What is new; None where it does not answer."""
        if not ray.wait([self._asked], timeout=0)[0]:
            return None
        asked, self._asked = self._asked, self._ticks.drain.remote()
        try:
            found: Any = ray.get(asked)
        except RayError:
            return None
        return found
