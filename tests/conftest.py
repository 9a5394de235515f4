"""Set before torch and Ray are loaded: one thread for each process of tests that run side by side; a token; Ctrl-C."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmark.engine.ray_token import set_token

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MKL_NUM_THREADS", "1")
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # as scripts start jobs beside them: what tests start would too
    signal.signal(signal.SIGINT, signal.default_int_handler)
set_token()  # a test that opens Ray in its own process, and every run that a test starts


@pytest.fixture(autouse=True, scope="session")
def cache_of_the_tests(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Nothing that a test fetches or verifies is remembered in the home folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BACKSTOP_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a cache that no other test has."""
    monkeypatch.setenv("BACKSTOP_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="session")
def miniature_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The finished store of the miniature suite, run once for all slow tests that only read it."""
    from tests.helpers import miniature

    root = tmp_path_factory.mktemp("miniature") / "store"
    miniature.run(root, "--local")
    return root
