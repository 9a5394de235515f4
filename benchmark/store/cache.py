"""The user's own folder on this machine: files fetched from remote stores, drafts, and which files were verified."""

from __future__ import annotations

import os
import stat
import uuid
from pathlib import Path

from benchmark.errors import UserError


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


def new_draft() -> Path:
    """A new folder for an artifact of a remote store in the making."""
    folder = user_cache() / "drafts" / uuid.uuid4().hex
    folder.mkdir(parents=True)
    return folder
