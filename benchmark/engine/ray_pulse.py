"""Signs of life of workers: a process that is stopped, or whose node hangs, is neither dead for Ray nor ever ready."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Collection, Iterable

BEAT_S = 5.0  # how often a worker gives a sign, and how often the driver looks
MOST_MISSED = 12  # looks in a row without one: a call into a library may keep Python from running for some seconds


def keep_beating(beat: Callable[[], object]) -> None:
    """Calls `beat` every few seconds from a thread of its own, as long as this process and its raylet live.

    Ray leaves the workers of a raylet that was killed alive, for nobody.
    """
    raylet = os.getppid()

    def go_on() -> None:
        while True:
            if os.getppid() != raylet:
                os._exit(1)
            beat()
            time.sleep(BEAT_S)

    threading.Thread(target=go_on, daemon=True).start()


class Pulse:
    """Counts looks without a sign, not seconds: a laptop that slept, or a driver that was stopped, has missed none."""

    def __init__(self) -> None:
        self._missed: dict[int, int] = {}  # by slot, from its first sign on: a node may have to be rented before
        self._heard: set[int] = set()  # since the last look
        self._looked = time.monotonic()

    def silent(self, heard: Iterable[int], there: Collection[int]) -> list[int]:
        """Which workers are lost.

        Args:
            heard: slots whose signs came since the last call, all up to a moment ago.
            there: slots that have a worker.
        """
        self._heard |= set(heard)
        if time.monotonic() - self._looked < BEAT_S:
            return []
        known = (self._missed.keys() | self._heard) & set(there)
        self._missed = {slot: 0 if slot in self._heard else self._missed[slot] + 1 for slot in known}
        self._heard, self._looked = set(), time.monotonic()
        return [slot for slot, missed in self._missed.items() if missed >= MOST_MISSED]
