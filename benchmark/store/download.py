"""Artifacts of remote stores on this machine: fetched whole, compared with their manifest, moved into place."""

from __future__ import annotations

import hashlib
import os
import uuid
from pathlib import Path

from benchmark.store.cache import user_cache
from benchmark.store.manifest import Manifest
from benchmark.store.roots import Root
from benchmark.store.verify import Verifier, sha256

_TRIES = 2  # a broken transfer is likelier than a broken store


class Damaged(Exception):
    """A remote artifact is not what its manifest says; the text says how."""


def cache_folder(root: Root, place: str) -> Path:
    """Where the files of an attempt (`stage/key/attempt` of a store) are kept on this machine."""
    return user_cache() / "artifacts" / hashlib.sha256(f"{root.url}/{place}".encode()).hexdigest()[:32]


def fetch(root: Root, place: str, manifest: Manifest, verifier: Verifier) -> Path:
    """Brings an attempt's files to this machine, those that are not there yet.

    A file gets its name only after its hash was compared: a second reader meets a whole file or none.

    Raises:
        Damaged: a file is missing, or came twice with another content.
    """
    folder = cache_folder(root, place)
    folder.mkdir(parents=True, exist_ok=True)
    for name, expected in manifest.files.items():
        target = folder / name
        if target.exists() and verifier.is_equal(target, expected):
            continue
        temporary = folder / f".{uuid.uuid4().hex}"
        try:
            _download(root, f"{place}/{name}", temporary, expected)
            os.replace(temporary, target)
        finally:
            temporary.unlink(missing_ok=True)
        verifier.note(target, expected)
    return folder


def _download(root: Root, place: str, target: Path, expected: str) -> None:
    name = place.rpartition("/")[2]
    for _ in range(_TRIES):
        try:
            root.fs.get_file(f"{root.base}/{place}", str(target))
        except FileNotFoundError:
            raise Damaged(f"{name} is missing") from None
        if sha256(target) == expected:
            return
    raise Damaged(f"{name} is not what was written (its sha256 differs)")


def remote_damage(root: Root, place: str, manifest: Manifest) -> str:
    """What is wrong with an attempt as far as it shows without a download: missing files, other sizes; else ""."""
    for name in manifest.files:
        try:
            size = root.size(f"{place}/{name}")
        except FileNotFoundError:
            return f"{name} is missing"
        wanted = manifest.sizes.get(name)
        if None not in (size, wanted) and size != wanted:
            return f"{name} has {size} bytes, not {wanted}"
    return ""
