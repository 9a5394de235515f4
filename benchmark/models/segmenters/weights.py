"""Folders of weights in Hugging Face layout: which files are read, and what names them in a content key."""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path

READ = ("config.json", "model.safetensors")  # the files of a folder that anything is read from


def content_hash(weights: str) -> str:
    """What names weights in a content key, wherever they lie: a hash of the files that are read, "absent" without."""
    files = [Path(weights) / name for name in READ]
    if not all(file.is_file() for file in files):
        return "absent"
    return _hash(tuple((str(file), file.stat().st_mtime_ns) for file in files))


@functools.lru_cache(maxsize=16)
def _hash(files: tuple[tuple[str, int], ...]) -> str:
    parts = []
    for name, _ in files:
        with open(name, "rb") as file:
            parts.append(hashlib.file_digest(file, "sha256").hexdigest())
    return hashlib.sha256(" ".join(parts).encode()).hexdigest()[:32]
