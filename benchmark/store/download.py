"""Files of remote artifacts on this machine: fetched one by one, compared with their manifest, moved into place."""

from __future__ import annotations

import hashlib
import os
import uuid
from pathlib import Path

from benchmark.store.artifact import Damaged
from benchmark.store.cache import Cache, user_cache
from benchmark.store.manifest import Manifest
from benchmark.store.roots import Root
from benchmark.store.verify import Verifier, sha256, wrong_content

_TRIES = 2  # a broken transfer is likelier than a broken store
_REFUSED = ".refused"  # in the folder of an attempt that came otherwise than it was written


def cache_folder(root: Root, place: str) -> Path:
    """Where the files of an attempt (`stage/key/attempt` of a store) are kept on this machine."""
    return user_cache() / "artifacts" / hashlib.sha256(f"{root.url}/{place}".encode()).hexdigest()[:32]


def fetch(root: Root, place: str, name: str, expected: str, cache: Cache, verifier: Verifier) -> None:
    """Brings a file of an attempt to this machine, if it is not there yet.

    It gets its name only after its hash was compared: a second reader meets a whole file or none.

    Raises:
        Damaged: it is missing, or came twice with another content.
    """
    folder = cache_folder(root, place)
    cache.hold(folder)
    target = folder / name
    if target.exists() and verifier.is_equal(target, expected):
        cache.used(target)
        return
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f".{uuid.uuid4().hex}"
    try:
        _download(root, f"{place}/{name}", temporary, expected)
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)
    verifier.note(target, expected)
    cache.make_room(target.stat().st_size)


def _download(root: Root, place: str, target: Path, expected: str) -> None:
    name = place.rpartition("/")[2]
    for _ in range(_TRIES):
        try:
            root.get(place, target)
        except FileNotFoundError:
            raise Damaged(f"{name} is missing") from None
        if sha256(target) == expected:
            return
    raise Damaged(wrong_content(name))


def refuse(root: Root, place: str) -> None:
    """Notes that an attempt of a store that others write was damaged: this user passes it over from now on."""
    folder = cache_folder(root, place)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / _REFUSED).touch()


def remote_damage(root: Root, place: str, manifest: Manifest, *, ours: bool) -> str:
    """What is wrong with an attempt as far as it shows without a download: missing files, other sizes; else ""."""
    if not ours and (cache_folder(root, place) / _REFUSED).exists():
        return "a file was not what was written when it was fetched"
    sizes = root.sizes(place)
    for name in manifest.files:
        if name not in sizes:
            return f"{name} is missing"
        size, wanted = sizes[name], manifest.sizes.get(name)
        if None not in (size, wanted) and size != wanted:
            return f"{name} has {size} bytes, not {wanted}"
    return ""
