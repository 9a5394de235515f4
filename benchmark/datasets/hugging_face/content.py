"""Content hash and other facts of local files, cached by path, size and time of change: a warm run reads nothing."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from benchmark.errors import UserError
from benchmark.store.cache import user_cache
from benchmark.store.keys import KEY_LENGTH, canonical_json, digest

MISSING = "missing"


def content_hash(files: Sequence[Path], root: Path) -> str:
    """Hashes relative names and bytes; the same files give the same text wherever the folder lies.

    Args:
        files: the files, in any order.
        root: folder that names are relative to.

    Returns:
        KEY_LENGTH hex digits of a sha256.
    """
    return named_hash({file.relative_to(root).as_posix(): file for file in sorted(files)})


def named_hash(files: Mapping[str, Path]) -> str:
    """Hashes names and bytes of files, in order; one that is not there counts as missing.

    Args:
        files: by the name that stands for each of them.

    Returns:
        KEY_LENGTH hex digits of a sha256.
    """
    known = _read_cache()
    fresh: dict[str, str] = {}
    whole = hashlib.sha256()
    for name, file in files.items():
        whole.update(f"{name}\0{_hash_of(file, known, fresh)}\n".encode())
    if fresh:
        _write_cache(fresh)
    return whole.hexdigest()[:KEY_LENGTH]


def _hash_of(file: Path, known: Mapping[str, str], fresh: dict[str, str]) -> str:
    try:
        stamp = _stamp(file)
        hashed = known.get(stamp) or fresh.get(stamp)
        if hashed is None:
            hashed = fresh[stamp] = _sha256(file)
        return hashed
    except OSError:  # as the reader takes it, which counts the row as broken
        return MISSING


def remembered(what: str, files: Sequence[Path], make: Callable[[], str]) -> str:
    """A fact about local files that takes long to find, found anew when one of them changes.

    Args:
        what: name of the fact.
        files: what it depends on, in order.
        make: finds it.
    """
    stamp = f"{what}|{digest(canonical_json([_stamp(file) for file in files]))}"
    found = _read_cache().get(stamp)
    if found is None:
        found = make()
        _write_cache({stamp: found})
    return found


def _stamp(file: Path) -> str:
    state = file.stat()
    if not stat.S_ISREG(state.st_mode):  # to open a pipe would wait for ever
        raise OSError(f"{file} is no file")
    return f"{file.resolve()}|{state.st_size}|{state.st_mtime_ns}"


def _sha256(file: Path) -> str:
    with open(file, "rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _cache_file() -> Path:
    return user_cache() / "content-hashes.json"


def _read_cache() -> dict[str, str]:
    try:
        found = json.loads(_cache_file().read_text())
    except (OSError, ValueError):  # not there, not JSON, or no place of the user's own
        return {}
    return found if isinstance(found, dict) else {}


def _write_cache(fresh: dict[str, str]) -> None:
    """Writes in one piece; a cache that cannot be written, or that others write to, only costs time."""
    try:
        file = _cache_file()
        temporary = file.with_name(f".{file.name}.{uuid.uuid4().hex[:8]}")
        temporary.write_text(json.dumps(_read_cache() | fresh))
        os.replace(temporary, file)
    except (OSError, UserError):
        return
