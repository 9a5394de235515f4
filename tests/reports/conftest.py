"""A made-up suite in which much went wrong, its results and its board, made once for all tests that read them."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmark.store.artifacts import Store
from reports.board import write_board
from reports.compile import Results, compile_suite
from tests.helpers import fake_suite


@pytest.fixture(scope="session")
def broken_store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return fake_suite.make_store(tmp_path_factory.mktemp("broken"), *fake_suite.broken())


@pytest.fixture(scope="session")
def results(broken_store: Store) -> Results:
    return compile_suite(broken_store, "demo")


@pytest.fixture(scope="session")
def board(broken_store: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_board(broken_store, "demo", tmp_path_factory.mktemp("board") / "new" / "folder")


@pytest.fixture(scope="session")
def page(board: Path) -> str:
    return board.read_text(encoding="utf-8")
