"""Claims: one of several that ask gets it, who is gone loses it, and clocks of machines are not compared."""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import fsspec
import pytest

from benchmark.store import claims
from benchmark.store.artifacts import Store
from tests.helpers import s3

pytestmark = pytest.mark.unit


@pytest.fixture
def driver(root: str) -> Iterator[Callable[[], Store]]:
    """Opens the store as a further driver does."""
    opened: list[Store] = []

    def open_it() -> Store:
        opened.append(Store(root))
        return opened[-1]

    yield open_it
    for store in opened:
        store.claims.close()


@pytest.fixture(params=["local", "memory", pytest.param("s3", marks=pytest.mark.slow)])
def root(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    if request.param == "s3":
        with s3.serving(monkeypatch):
            yield f"s3://{s3.BUCKET}/store"
    else:
        yield str(tmp_path / "store") if request.param == "local" else f"memory://{uuid.uuid4().hex}/store"


def change(root: str, name: str, edit: Callable[[dict[str, object]], dict[str, object]]) -> None:
    """Changes a document that matches, as another machine would."""
    fs, base = fsspec.core.url_to_fs(root)
    fs.invalidate_cache()
    for path in fs.find(f"{base}/claims"):
        if f"/{name}" in path:
            fs.pipe_file(path, json.dumps(edit(json.loads(fs.cat_file(path)))).encode())


def test_a_claim_is_its_owners_until_it_is_given_back(root: str, driver: Callable[[], Store]) -> None:
    first, second = driver(), driver()
    assert first.claim("pretrain", "k1") and first.claim("pretrain", "k1")
    assert not second.claim("pretrain", "k1")
    assert second.claim("pretrain", "k2")
    second.release("pretrain", "k1")  # not its own
    assert not second.claim("pretrain", "k1")
    first.release("pretrain", "k1")
    assert second.claim("pretrain", "k1")
    second.claims.close()
    assert first.claim("pretrain", "k1") and first.claim("pretrain", "k2")
    first.claims.close()
    fs, base = fsspec.core.url_to_fs(root)
    fs.invalidate_cache()
    assert fs.find(f"{base}/claims") == []


def test_of_many_that_ask_at_once_one_gets_it(root: str, driver: Callable[[], Store]) -> None:
    if root.startswith("memory"):
        pytest.skip("fsspec's file system in memory looks before it writes")
    stores, got = [driver() for _ in range(8)], list[bool]()
    barrier = threading.Barrier(len(stores))

    def ask(store: Store) -> None:
        barrier.wait()
        got.append(store.claim("pretrain", "k1"))

    threads = [threading.Thread(target=ask, args=(store,)) for store in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(got) == [False] * 7 + [True]


def test_who_is_silent_for_long_by_the_clock_of_who_looks_loses_it(root: str, driver: Callable[[], Store], monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = driver(), driver()
    assert first.claim("pretrain", "k1")
    now = [0.0]
    monkeypatch.setattr(claims.time, "monotonic", lambda: now[0])
    far = {"machine": "another", "time": -1e9}  # whose clock is wrong, and whose processes are not ours
    change(root, "owners", lambda facts: facts | far)
    for moment in (0.0, claims.STALE_S / 2, claims.STALE_S):
        now[0] = moment
        assert not second.claim("pretrain", "k1")
    change(root, "owners", lambda facts: facts | {"beat": "another"} if facts["machine"] == "another" else facts)
    now[0] = 1.9 * claims.STALE_S
    assert not second.claim("pretrain", "k1")  # it gave a sign of life
    now[0] = 3 * claims.STALE_S
    assert second.claim("pretrain", "k1")


def test_a_dead_process_of_this_machine_loses_it_at_once(root: str, driver: Callable[[], Store]) -> None:
    first, second = driver(), driver()
    assert first.claim("pretrain", "k1")
    change(root, "owners", lambda facts: facts | {"process": 2**22 + 1})
    assert second.claim("pretrain", "k1")


def test_a_claim_that_is_torn_is_not_for_ever(root: str, driver: Callable[[], Store], monkeypatch: pytest.MonkeyPatch) -> None:
    store, now = driver(), [0.0]
    fs, base = fsspec.core.url_to_fs(root)
    fs.makedirs(f"{base}/claims/pretrain", exist_ok=True)
    fs.pipe_file(f"{base}/claims/pretrain/k1.json", b"")
    monkeypatch.setattr(claims.time, "monotonic", lambda: now[0])
    assert not store.claim("pretrain", "k1")  # it may be about to be written
    now[0] = 2 * claims.STALE_S
    assert store.claim("pretrain", "k1")
