"""Results that are installed with a suite: a bundle in the folder `published/<suite>` beside the suite's module."""

from __future__ import annotations

import inspect
from pathlib import Path

from benchmark.bundle.layout import DOCUMENT
from benchmark.bundle.unpack import Shelves, unpack
from benchmark.config import registry

FOLDER = "published"


def shelves(name: str | None) -> Shelves | None:
    """A suite's published results as stores; None where there are none.

    Args:
        name: of the suite, as a command was given it.

    Raises:
        UserError: the installed bundle is damaged.
    """
    folder = folder_of(name) if name else None
    return unpack(folder) if folder else None


def folder_of(name: str) -> Path | None:
    """Folder of a registered suite's bundle; None where it has none."""
    if name not in registry.names("suite"):
        return None
    folder = Path(inspect.getfile(registry.suite(name))).parent / FOLDER / name
    return folder if (folder / DOCUMENT).is_file() else None
