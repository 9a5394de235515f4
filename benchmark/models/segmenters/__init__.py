"""Segmenters: models from outside that cut images into regions, a file each, behind `types.Segmenter`; and `shown`."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path

from benchmark.errors import unknown
from benchmark.types import Segmenter

READ = ("config.json", "model.safetensors")  # the files of a folder of weights that anything is read from


def build(name: str, weights: str | None = None) -> Segmenter:
    """Builds a segmenter.

    Args:
        name: "classical", or "sam" (Segment Anything).
        weights: a local folder in Hugging Face layout, for those that have weights.

    Raises:
        UnknownNameError: no such segmenter.
        NotApplicable: its weights or its library are not there.
    """
    builders: Mapping[str, Callable[[str | None], Segmenter]] = {"classical": _classical, "sam": _sam}
    if name not in builders:
        raise unknown("segmenter", name, builders)
    return builders[name](weights)


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


# Imported where they are used: neither scikit-image nor transformers is loaded to list methods.


def _classical(weights: str | None) -> Segmenter:
    from benchmark.models.segmenters.classical import Classical

    return Classical()


def _sam(weights: str | None) -> Segmenter:
    from benchmark.models.segmenters.sam import Sam

    return Sam.load(weights)
