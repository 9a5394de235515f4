"""Every file of a folder, with its size and when it was changed."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple


class Found(NamedTuple):
    """A file of a store."""

    size: int  # bytes
    changed: float  # seconds since 1970; now where the file system does not say


def walk_folder(folder: Path) -> Iterator[tuple[str, Found]]:
    """Names from the folder; of folders in which nothing is too, with a slash behind."""
    for place, folders, files in os.walk(folder):
        here = Path(place).relative_to(folder).as_posix()
        for name in files:
            with suppress(FileNotFoundError):  # another process has just removed it
                found = os.stat(f"{place}/{name}")
                yield name if here == "." else f"{here}/{name}", Found(found.st_size, found.st_mtime)
        if not files and not folders and here != ".":
            with suppress(FileNotFoundError):
                yield f"{here}/", Found(0, os.stat(place).st_mtime)


def changed_at(item: Mapping[str, Any]) -> float:
    """When a file was changed, as the entry of any of fsspec's file systems tells it."""
    found = next((item[name] for name in ("LastModified", "created", "mtime", "updated") if item.get(name)), None)
    if isinstance(found, datetime):
        return found.timestamp()
    return found if isinstance(found, (int, float)) else time.time()


