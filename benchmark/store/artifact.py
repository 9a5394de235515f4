"""An artifact that is finished, and one in the making."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmark.store.manifest import Manifest
from benchmark.store.verify import sha256


class Damaged(LookupError):
    """A file of an artifact is not what its manifest says, or is not there; the text says how."""


@dataclass(frozen=True)
class Artifact:
    """A finished artifact: its facts, and its files, which are brought from a remote store when they are asked for."""

    stage: str
    key: str
    facts: dict[str, Any]  # what the stage wrote about it (small JSON)
    place: Path  # local folder of the files; those of a remote artifact need not be there yet
    hashes: Mapping[str, str] = field(default_factory=dict[str, str])  # SHA-256 of each file
    attempt: str = ""  # begins with the time when it was begun
    bring: Callable[[Iterable[str]], None] | None = None  # has files in `place`; None: all are there

    def path(self, name: str) -> Path:
        """Local path of one of its files.

        Raises:
            Damaged: it came from a remote store, and not as it was written.
        """
        return self.folder_with(name) / name

    @property
    def folder(self) -> Path:
        """Local folder with all of its files; raises as `path` does."""
        return self.folder_with(*self.hashes)

    def folder_with(self, *names: str) -> Path:
        """Local folder with some of its files; raises as `path` does."""
        if self.bring is not None:
            self.bring(names)
        return self.place


class Draft:
    """An artifact in the making. Write into `folder`, then `commit`."""

    def __init__(
        self, stage: str, key: str, *, folder: Callable[[str], Path], publish: Callable[[Draft, Manifest], Artifact]
    ) -> None:
        """`folder` makes the one for an attempt; `publish` is given what was written."""
        self.stage, self.key, self._publish = stage, key, publish
        self.attempt = f"{time.strftime('%Y%m%dT%H%M%S')}-{uuid.uuid4().hex[:8]}"
        self.folder = folder(self.attempt)

    def path(self, name: str) -> Path:
        """Where to write one of its files."""
        return self.folder / name

    def commit(self, facts: dict[str, Any]) -> Artifact:
        """Hashes the files, uploads them where the store is remote, and writes the manifest last."""
        files = [path for path in sorted(self.folder.iterdir()) if path.is_file()]
        manifest = Manifest(
            attempt=self.attempt,
            files={path.name: sha256(path) for path in files},
            sizes={path.name: path.stat().st_size for path in files},
            facts=facts,
        )
        made = self._publish(self, manifest)
        self.folder = made.place
        return made
