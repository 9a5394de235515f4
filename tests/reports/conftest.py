"""Made-up suites, their results and boards, made once for all tests that read them.

`results`, `board` and `page` are of one in which much went wrong; those of the zoo have every kind of method.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmark.store.artifacts import Store
from reports.board import write_board
from reports.compile import Results, compile_suite
from tests.helpers import fake_suite, fake_zoo


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


@pytest.fixture(scope="session")
def zoo_store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return fake_zoo.make_store(tmp_path_factory.mktemp("zoo"))


@pytest.fixture(scope="session")
def zoo(zoo_store: Store) -> Results:
    return compile_suite(zoo_store, "zoo")


@pytest.fixture(scope="session")
def bare_zoo(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """The same suite with a document from before cards."""
    return compile_suite(fake_zoo.make_store(tmp_path_factory.mktemp("bare"), cards=False), "zoo")


@pytest.fixture(scope="session")
def zoo_board(zoo_store: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_board(zoo_store, "zoo", tmp_path_factory.mktemp("zoo-board"))


@pytest.fixture(scope="session")
def zoo_page(zoo_board: Path) -> str:
    return zoo_board.read_text(encoding="utf-8")
