"""The cache of remote stores: it stays within its limit, keeps what is used, and what a dead process left goes."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from benchmark.errors import UserError
from benchmark.store.artifacts import Store
from benchmark.store.cache import size_limit

pytestmark = [pytest.mark.unit, pytest.mark.usefixtures("cache")]


@pytest.fixture
def url(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cache: Path) -> str:
    """A remote store with four artifacts of 1,000 bytes, made on another machine."""
    monkeypatch.setenv("BACKSTOP_CACHE", str(tmp_path / "elsewhere"))
    found = f"memory://{uuid.uuid4().hex}"
    store = Store(found)
    for key in ("k1", "k2", "k3", "k4"):
        draft = store.draft("pretrain", key)
        draft.path("model").write_bytes(key.encode() * 500)
        draft.commit({})
    monkeypatch.setenv("BACKSTOP_CACHE", str(cache))
    return found


def read(store: Store, *keys: str) -> None:
    """Reads models as tasks do that come one after another."""
    for key in keys:
        found = store.find("pretrain", key)
        assert found is not None
        assert found.path("model").read_bytes() == key.encode() * 500
        store.release_files()


def there(cache: Path) -> set[str]:
    return {file.read_bytes()[:2].decode() for file in cache.glob("artifacts/*/model")}


def test_what_was_used_least_lately_goes(url: str, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BACKSTOP_CACHE_SIZE", "3000")
    store = Store(url)
    read(store, "k1", "k2", "k3")
    assert there(cache) == {"k1", "k2", "k3"}
    read(store, "k1", "k4")
    assert there(cache) == {"k1", "k3", "k4"}
    read(store, "k2")  # is fetched again
    assert there(cache) == {"k1", "k2", "k4"}


def test_what_a_task_was_given_stays_while_it_runs(url: str, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BACKSTOP_CACHE_SIZE", "1000")
    worker, other = Store(url), Store(url)  # as two processes: each with a desk of its own
    for key in ("k1", "k2"):
        found = worker.find("pretrain", key)
        assert found is not None
        assert found.path("model").exists()
    read(other, "k3")
    assert there(cache) == {"k1", "k2", "k3"}
    worker.release_files()
    read(other, "k4")
    assert there(cache) == {"k4"}


def test_what_a_killed_process_drafted_and_held_goes_with_the_next(
    url: str, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = """
import os, pathlib, signal
from benchmark.store.cache import Cache, user_cache
cache = Cache()
(cache.new_draft() / "weights").write_text("half")
cache.hold(user_cache() / "artifacts" / "held")
os.kill(os.getpid(), signal.SIGKILL)
"""
    subprocess.run([sys.executable, "-c", code], env=os.environ, check=False)
    assert len(list(cache.glob("processes/*/*/weights"))) == 1
    held = cache / "artifacts" / "held" / "model"
    held.parent.mkdir(parents=True)
    held.write_bytes(b"xx" * 500)
    monkeypatch.setenv("BACKSTOP_CACHE_SIZE", "1000")
    read(Store(url), "k1")
    assert list(cache.glob("processes/*/*/weights")) == []
    assert there(cache) == {"k1"}


def test_a_process_that_ends_leaves_no_draft_and_no_desk(cache: Path) -> None:
    code = """
from benchmark.store.artifacts import Store
store = Store("memory://x")
draft = store.draft("pretrain", "k1")
draft.path("model").write_text("weights")
draft.commit({})
store.draft("pretrain", "k2").path("model").write_text("half")
"""
    subprocess.run([sys.executable, "-c", code], env=os.environ, check=True)
    assert [file.name for file in cache.glob("artifacts/*/*")] == ["model"]
    assert list(cache.glob("processes/*")) == []


def test_a_limit_that_is_no_size_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    assert size_limit() == 50 * 10**9
    monkeypatch.setenv("BACKSTOP_CACHE_SIZE", "2GiB")
    assert size_limit() == 2 << 30
    monkeypatch.setenv("BACKSTOP_CACHE_SIZE", "much")
    with pytest.raises(UserError, match="BACKSTOP_CACHE_SIZE must be a size such as 20GB, got 'much'"):
        size_limit()
