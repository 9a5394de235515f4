"""Unfinished state of one artifact: a folder on this machine; of a remote store, its newest file lies there too.

What lies in the store is what counts: a node that comes in place of a lost one goes on from it, and all workers of a
group from the same. It is written before the local copy is, which therefore is never the newer one.
"""

from __future__ import annotations

import logging
import os
import uuid
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from benchmark.store.roots import Root
from benchmark.store.verify import sha256

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Scratch:
    """Where unfinished state lies, here and in a remote store."""

    folder: Path  # on this machine
    root: Root
    place: str  # in the store

    def share(self, file: Path, order: int) -> None:
        """Puts a file into a remote store, in the place of those of a lower order.

        Args:
            file: one that is whole; in a local store, where others see it anyway, nothing is done.
            order: not below 0; the file of the highest counts.
        """
        if self.root.local is not None:
            return
        name = f"{order:08d}-{sha256(file)}"
        self.root.put(file, f"{self.place}/{name}")
        for other in self.root.names(self.place):
            if other < name:
                self.root.remove(f"{self.place}/{other}")

    def bring(self, name: str) -> None:
        """Has the newest file of a remote store here under a name; where there is none, none of before stays."""
        if self.root.local is not None:
            return
        target = self.folder / name
        for newest in sorted(self.root.names(self.place), reverse=True):
            if target.exists() and sha256(target) == newest.partition("-")[2]:
                return
            if self._fetch(newest, target):
                return
        target.unlink(missing_ok=True)

    def _fetch(self, newest: str, target: Path) -> bool:
        """Whether a file came as it was written; one that did not is passed over."""
        self.folder.mkdir(parents=True, exist_ok=True)
        temporary = self.folder / f".{uuid.uuid4().hex}"
        try:
            with suppress(FileNotFoundError):  # another driver has just put a newer one in its place
                self.root.get(f"{self.place}/{newest}", temporary)
                if sha256(temporary) == newest.partition("-")[2]:
                    os.replace(temporary, target)
                    return True
                _log.warning("backstop: checkpoint %s/%s is damaged; the one before it counts", self.place, newest)
        finally:
            temporary.unlink(missing_ok=True)
        return False
