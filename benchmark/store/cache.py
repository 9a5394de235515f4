"""The user's own folder on this machine: files fetched from remote stores, drafts, and which files were verified.

What was fetched has a limit of size; what was not used for longest goes first, and nothing that a running process was
given for what it does now. Each process that fetches or drafts has a *desk*, a folder with a lock that the system
opens when the process ends: what a dead one left is removed by the next one.
"""

from __future__ import annotations

import os
import shutil
import stat
import time
import uuid
import weakref
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from filelock import FileLock, Timeout
from pydantic import ByteSize, TypeAdapter, ValidationError

from benchmark.errors import UserError, must

SIZE = "50GB"  # limit of what was fetched, where BACKSTOP_CACHE_SIZE does not say another


def user_cache() -> Path:
    """BACKSTOP_CACHE, else `backstop` in XDG_CACHE_HOME or `~/.cache`; nobody but its user writes there.

    Raises:
        UserError: it cannot be made, or others may write to it, who could then change what a run reads.
    """
    named, shared = os.environ.get("BACKSTOP_CACHE"), os.environ.get("XDG_CACHE_HOME")
    folder = Path(named) if named else Path(shared or "~/.cache").expanduser() / "backstop"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.stat()
    except OSError as error:
        raise UserError(f"cache {folder} cannot be made: {error.strerror}; choose another with BACKSTOP_CACHE") from None
    if found.st_uid != os.getuid() or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise UserError(
            f"cache {folder} must be writable by its user alone, got mode {stat.filemode(found.st_mode)} of user "
            f"{found.st_uid}; choose another with BACKSTOP_CACHE"
        )
    return folder


def size_limit() -> int:
    """Bytes that fetched files may take.

    Raises:
        UserError: BACKSTOP_CACHE_SIZE is no size.
    """
    named = os.environ.get("BACKSTOP_CACHE_SIZE") or SIZE
    try:
        return TypeAdapter(ByteSize).validate_python(named)
    except ValidationError:
        raise must("BACKSTOP_CACHE_SIZE", "a size such as 20GB", named, "change it, or leave it out") from None


class Cache:
    """What a process uses of the user's folder; pickles as nothing."""

    def __init__(self) -> None:
        self._desk: _Desk | None = None
        self._held = set[str]()
        self._fetched: int | None = None  # bytes since it was last looked how full the cache is

    def __getstate__(self) -> dict[str, None]:
        return {}

    def __setstate__(self, state: dict[str, None]) -> None:
        self.__init__()

    def new_draft(self) -> Path:
        """A new folder for an artifact of a remote store in the making; gone when the process is, if not before."""
        folder = self._own_desk().folder / uuid.uuid4().hex
        folder.mkdir()
        return folder

    def hold(self, folder: Path) -> None:
        """Has fetched files of a folder stay until `release`."""
        if folder.name in self._held:
            return
        desk = self._own_desk()
        with _changing(desk.folder.parents[1]), open(desk.uses, "a") as file:  # not while another makes room
            file.write(f"{folder.name}\n")
        self._held.add(folder.name)

    def release(self) -> None:
        """Lets go of all that is held: what this process does next asks anew for what it needs."""
        if self._desk is not None and self._held:
            self._desk.uses.write_text("")
        self._held.clear()

    def used(self, file: Path) -> None:
        """Notes that a file is used now; what it was changed at stays, since verified files are known by it."""
        with suppress(OSError):
            found = file.stat()
            os.utime(file, ns=(max(found.st_atime_ns, time.time_ns()), found.st_mtime_ns))

    def make_room(self, fetched: int) -> None:
        """Removes what was used least lately where all is more than the limit; looked at now and then.

        Args:
            fetched: bytes of a file that has just come.
        """
        limit = size_limit()
        self._fetched = None if self._fetched is None else self._fetched + fetched
        if self._fetched is None or self._fetched * 50 > limit:
            self._fetched = 0
            root = self._own_desk().folder.parents[1]
            with _changing(root):
                trim(root / "artifacts", limit, _in_use(root / "processes"))

    def _own_desk(self) -> _Desk:
        root = user_cache()
        if self._desk is None or self._desk.process != os.getpid() or self._desk.folder.parents[1] != root:
            self._desk, self._held = _new_desk(root / "processes"), set[str]()
            weakref.finalize(self, _clear, self._desk)  # at the end of the process too
        return self._desk


class _Desk(NamedTuple):
    """The folder of one process, with the lock that tells that it lives."""

    folder: Path
    lock: FileLock
    process: int

    @property
    def uses(self) -> Path:
        """The file with the names of the folders that it holds."""
        return self.folder / "uses"


def _new_desk(place: Path) -> _Desk:
    """A desk for this process; those of dead ones are removed."""
    place.mkdir(exist_ok=True)
    sweep(place)
    folder = place / uuid.uuid4().hex
    lock = FileLock(folder.with_suffix(".lock"), thread_local=False)  # the one that collects it may be another thread
    lock.acquire()
    folder.mkdir()
    return _Desk(folder, lock, os.getpid())


def _clear(desk: _Desk) -> None:
    if desk.process == os.getpid():  # a fork's end is not the owner's
        shutil.rmtree(desk.folder, ignore_errors=True)
        Path(desk.lock.lock_file).unlink(missing_ok=True)
        desk.lock.release()


def sweep(place: Path) -> int:
    """Removes the desks of processes that have died, with their drafts; how many there were."""
    dead = 0
    for file in place.glob("*.lock"):
        try:
            with FileLock(file, blocking=False):
                shutil.rmtree(file.with_suffix(""), ignore_errors=True)
                file.unlink(missing_ok=True)
                dead += 1
        except (Timeout, OSError):
            continue
    return dead


def _changing(root: Path) -> FileLock:
    return FileLock(root / "trim.lock")


def _in_use(place: Path) -> set[str]:
    """Names of the folders that processes hold."""
    held = set[str]()
    for file in place.glob("*/uses"):
        with suppress(OSError):
            held.update(file.read_text().split())
    return held


def trim(artifacts: Path, limit: int, held: set[str]) -> int:
    """Removes fetched files, the least lately used first, until the rest fits; returns the bytes that were removed."""
    files = [(found.st_atime_ns, found.st_size, file) for file in artifacts.glob("*/*") if (found := _stat(file))]
    over = excess = sum(size for _, size, _ in files) - limit
    for _, size, file in sorted(files):
        if over <= 0:
            break
        if file.parent.name not in held:
            file.unlink(missing_ok=True)
            with suppress(OSError):  # others are in it
                file.parent.rmdir()
            over -= size
    return excess - over


def _stat(file: Path) -> os.stat_result | None:
    with suppress(OSError):
        return file.stat()
    return None
