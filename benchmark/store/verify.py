"""Whether files are still what was written: sizes at every look, hashes once per file state.

A *file state* is path, size, time of change and inode. Small files are hashed once per process and state; large ones
once per machine and state: the memory of those is a file in the user's cache, outside the store, so that reading a
store never writes to it and one on a network disk is checked by each machine that reads it.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from benchmark.errors import UserError
from benchmark.store.cache import user_cache
from benchmark.store.manifest import Manifest

LARGE = 1 << 20  # bytes; a smaller file is hashed in about a millisecond, quicker than it is looked up
_MEMORY_LIMIT = 4 << 20  # bytes; about 120,000 files, then the memory begins anew


def sha256(path: Path) -> str:
    """Hex sha256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def size_damage(folder: Path | str, manifest: Manifest) -> str:
    """What is wrong with an artifact's files as far as their sizes tell, "" where nothing is."""
    for name in manifest.files:
        try:
            size = os.stat(f"{folder}/{name}").st_size
        except OSError:
            return f"{name} is missing"
        wanted = manifest.sizes.get(name, size)
        if size != wanted:
            return f"{name} has {size} bytes, not {wanted}"
    return ""


def wrong_content(name: str) -> str:
    """What is wrong with a file of another hash."""
    return f"{name} is not what was written (its sha256 differs)"


class Verifier:
    """Compares files with their manifest and remembers those that were equal."""

    def __init__(self) -> None:
        self._equal: set[str] | None = None

    def damage(self, folder: Path, manifest: Manifest) -> str:
        """What is wrong with an artifact's files, "" where all are as they were written."""
        found = size_damage(folder, manifest)
        if found:
            return found
        differs = (name for name, expected in manifest.files.items() if not self.is_equal(folder / name, expected))
        return next(map(wrong_content, differs), "")

    def is_equal(self, path: Path, expected: str) -> bool:
        """Whether a file has this sha256; it is read only where its state is new."""
        state, large = _state(path, expected)
        if state in self._known():
            return True
        if sha256(path) != expected:
            return False
        self._remember(state, large=large)
        return True

    def note(self, path: Path, known: str) -> None:
        """Remembers the hash of a file that was just written and hashed."""
        state, large = _state(path, known)
        self._remember(state, large=large)

    def _known(self) -> set[str]:
        if self._equal is None:
            try:
                self._equal = set((user_cache() / "verified").read_text().split())
            except (OSError, ValueError, UserError):  # without a memory of other runs everything is hashed once
                self._equal = set()
        return self._equal

    def _remember(self, state: str, *, large: bool) -> None:
        self._known().add(state)
        if large:
            try:
                _append(user_cache() / "verified", state)
            except (OSError, UserError):
                pass


def _state(path: Path, expected: str) -> tuple[str, bool]:
    """Names a file's state and hash together; and whether the file is large."""
    found = path.stat()
    text = f"{path.absolute()}|{found.st_size}|{found.st_mtime_ns}|{found.st_ino}|{expected}"
    return hashlib.sha256(text.encode()).hexdigest()[:32], found.st_size >= LARGE


def _append(memory: Path, line: str) -> None:
    """Adds a line in one write, so that several processes may do so at once."""
    full = memory.exists() and memory.stat().st_size > _MEMORY_LIMIT
    flags = os.O_WRONLY | os.O_CREAT | (os.O_TRUNC if full else os.O_APPEND)
    descriptor = os.open(memory, flags, 0o600)
    try:
        os.write(descriptor, f"{line}\n".encode())
    finally:
        os.close(descriptor)
