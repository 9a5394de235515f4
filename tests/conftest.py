"""Set before torch is loaded: one thread for each process of the tests, which run side by side."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MKL_NUM_THREADS", "1")


@pytest.fixture(autouse=True, scope="session")
def cache_of_the_tests(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Nothing that a test fetches or verifies is remembered in the home folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BACKSTOP_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield
