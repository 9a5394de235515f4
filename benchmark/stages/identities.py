"""What names a method, a training and a model in a content key: content, never the place where it lies."""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path
from typing import Any

from benchmark.config.spec import ModelSpec
from benchmark.errors import UserError
from benchmark.types import Method, Training


def identity(method: Method | None) -> dict[str, Any]:
    """What names a method in a key; empty without one."""
    return {} if method is None else method.identity()


def without_paths(ident: dict[str, Any]) -> dict[str, Any]:
    """Drops where a local data set lies; its content hash stands in the key."""
    fields = {name: value for name, value in ident["fields"].items() if name != "path"}
    return ident | {"fields": fields}


def training_identity(training: Training) -> dict[str, Any]:
    """Its fields that are not at their defaults, and the versions of their values."""
    return training.model_dump(mode="json", exclude_defaults=True) | training.versions_in_use()


def model_identity(spec: ModelSpec) -> dict[str, Any]:
    """The model's fields, with local weights named by content."""
    fields = spec.model_dump(mode="json", exclude_defaults=True)
    if spec.weights:
        fields["weights"] = _file_hash(spec.weights)
    return fields


@functools.lru_cache(maxsize=64)
def _file_hash(path: str) -> str:
    if not Path(path).is_file():
        raise UserError(f"model.weights {path!r}: no such file; give a safetensors file")
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:32]
