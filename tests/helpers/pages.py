"""Boards of made-up suites, of which a test reads the page."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmark.store.artifacts import Store
from reports import style
from reports.board import write_board


def page_of(store: Store, suite: str, folder: Path) -> str:
    """The page of a suite's board, written into `folder` without the figures' files, which take half of the time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(style, "save", lambda figure, path_stem: [])
        return write_board(store, suite, folder).read_text(encoding="utf-8")
