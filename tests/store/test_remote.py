"""Remote stores: nothing is believed, readers do not disturb one another, and no temporary file stays."""

from __future__ import annotations

import hashlib
import json
import stat
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import pytest

from benchmark.errors import UserError
from benchmark.store.artifacts import Store, open_store
from benchmark.store.cache import user_cache

pytestmark = [pytest.mark.unit, pytest.mark.usefixtures("cache")]


@pytest.fixture
def url() -> str:
    return f"memory://{uuid.uuid4().hex}"


def plant(url: str, files: dict[str, bytes], *, said: dict[str, bytes] | None = None, **changed: Any) -> None:
    """A stranger's store; its manifest gives the hashes of what is `said` to lie there."""
    fs, base = fsspec.core.url_to_fs(url)
    fs.pipe_file(f"{base}/format.json", b'{"version": 1}')
    for name, data in files.items():
        fs.pipe_file(f"{base}/pretrain/k1/a1/{name}", data)
    hashes = {name: hashlib.sha256(data).hexdigest() for name, data in (said or files).items()}
    manifest = {"attempt": "a1", "files": hashes, "facts": {}} | changed
    fs.pipe_file(f"{base}/pretrain/k1/manifest.json", json.dumps(manifest).encode())


def test_a_hostile_manifest_writes_no_file(
    url: str, tmp_path: Path, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    victim = tmp_path / "planted"
    for name in (str(victim), "../../../planted", "..", "a\\..\\..\\planted"):
        plant(url, {name: b"planted"})
        assert Store(tmp_path / "mine", read_only=(url,)).find("pretrain", "k1") is None
    plant(url, {"x": b"x"}, attempt="../a1")
    assert Store(tmp_path / "mine", read_only=(url,)).find("pretrain", "k1") is None
    assert not victim.exists()
    assert not cache.exists()
    assert all("must be a bare name" in line for line in caplog.messages)
    assert len(caplog.messages) == 5


def test_a_download_with_another_content_is_never_handed_out(
    url: str, tmp_path: Path, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    plant(url, {"model": b"swapped"}, said={"model": b"weights"})
    store = Store(tmp_path / "mine", read_only=(url,))
    assert store.find("pretrain", "k1", whole=True) is None
    assert "model is not what was written (its sha256 differs); it is passed over" in caplog.text
    assert [path.name for path in cache.glob("artifacts/*/*")] == [".refused"]


def test_a_broken_transfer_is_tried_again(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(url, {"model": b"weights"})
    fs, _ = fsspec.core.url_to_fs(url)
    real, calls = fs.get_file, list[str]()

    def broken(source: str, target: str) -> None:
        calls.append(source)
        real(source, target)
        if len(calls) == 1:
            Path(target).write_bytes(b"weig")

    monkeypatch.setattr(fs, "get_file", broken)
    found = Store(tmp_path / "mine", read_only=(url,)).find("pretrain", "k1")
    assert found is not None
    assert found.path("model").read_bytes() == b"weights"
    assert len(calls) == 2


def test_a_damaged_remote_artifact_of_ones_own_is_made_again(url: str, caplog: pytest.LogCaptureFixture) -> None:
    plant(url, {"model": b"swapped"}, said={"model": b"weights"})
    store = Store(url)
    assert store.has("pretrain", "k1")  # what a look without a download can tell
    assert store.find("pretrain", "k1", whole=True) is None
    assert not Store(url).has("pretrain", "k1")
    assert "it counts as absent and is made again when it is needed" in caplog.text


@pytest.mark.parametrize("damage", ["removed", "truncated"])
def test_what_shows_without_a_download_is_seen_without_one(url: str, damage: str) -> None:
    draft = Store(url).draft("pretrain", "k1")
    draft.path("model").write_bytes(b"weights")
    draft.commit({})
    fs, base = fsspec.core.url_to_fs(url)
    (file,) = (path for path in fs.find(f"{base}/pretrain") if path.endswith("/model"))
    fs.rm_file(file) if damage == "removed" else fs.pipe_file(file, b"weig")
    assert not Store(url).has("pretrain", "k1")
    assert Store(url).facts("pretrain", "k1") is None


def test_facts_of_a_remote_artifact_download_nothing(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(url, {"model": b"weights"}, facts={"epochs": 3})
    fs, _ = fsspec.core.url_to_fs(url)
    monkeypatch.setattr(fs, "get_file", lambda *_: pytest.fail("downloaded"))
    assert Store(url).facts("pretrain", "k1") == {"epochs": 3}


def slowly(real: Callable[..., None], halfway: threading.Event) -> Callable[[Any, str, str], None]:
    """A download that opens its target, waits, and fills it in place, as s3fs does."""

    def get_file(fs: Any, source: str, target: str) -> None:
        real(fs, source, target)
        data = Path(target).read_bytes()
        Path(target).write_bytes(b"\0" * len(data))
        halfway.set()
        time.sleep(0.2)
        Path(target).write_bytes(data)

    return get_file


def test_two_readers_of_a_cold_cache_both_get_whole_files(
    url: str, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(url, {"images": b"x" * 100_000})
    fs, _ = fsspec.core.url_to_fs(url)
    halfway = threading.Event()
    kind = type(fs)  # each thread has a file system of its own
    monkeypatch.setattr(kind, "get_file", slowly(kind.get_file, halfway))
    read: list[bytes] = []

    def reader() -> None:
        found = Store(tmp_path / "mine", read_only=(url,)).find("pretrain", "k1")
        read.append(found.path("images").read_bytes() if found else b"")

    first, second = threading.Thread(target=reader), threading.Thread(target=reader)
    first.start()
    assert halfway.wait(5)
    second.start()
    first.join()
    second.join()
    assert read == [b"x" * 100_000] * 2
    assert len(list(cache.glob("artifacts/*/*"))) == 1


def test_a_damaged_cache_is_fetched_again(url: str, tmp_path: Path) -> None:
    plant(url, {"model": b"weights"})
    first = Store(tmp_path / "mine", read_only=(url,)).find("pretrain", "k1")
    assert first is not None
    first.path("model").write_bytes(b"weighty")
    again = Store(tmp_path / "mine", read_only=(url,)).find("pretrain", "k1")
    assert again is not None
    assert again.path("model").read_bytes() == b"weights"


def test_what_was_uploaded_is_not_fetched_again_and_no_draft_stays(
    url: str, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fs, _ = fsspec.core.url_to_fs(url)
    monkeypatch.setattr(fs, "get_file", lambda *_: pytest.fail("downloaded"))
    draft = Store(url).draft("pretrain", "k1")
    draft.path("model").write_bytes(b"weights")
    made = draft.commit({})
    found = Store(url).find("pretrain", "k1")
    assert found is not None
    assert found.folder == made.folder
    assert found.path("model").read_bytes() == b"weights"
    assert [path.name for path in cache.glob("artifacts/*/*")] == ["model"]
    assert [path for path in cache.glob("processes/*/*") if path.is_dir()] == []


def test_the_cache_is_its_users_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BACKSTOP_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "shared"))
    folder = user_cache()
    assert folder == tmp_path / "shared" / "backstop"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    folder.chmod(0o777)
    with pytest.raises(UserError, match="must be writable by its user alone, got mode drwxrwxrwx") as caught:
        user_cache()
    assert "BACKSTOP_CACHE" in str(caught.value)


@pytest.mark.parametrize("there", [False, True])
def test_a_store_behind_must_be_one(there: bool, tmp_path: Path) -> None:
    place = tmp_path / "typo"
    if there:
        place.mkdir()
    for behind in (str(place), f"memory://{uuid.uuid4().hex}"):
        with pytest.raises(UserError, match="must be a store, got no format.json there") as caught:
            open_store(str(tmp_path / "mine"), read_only=(behind,))
        assert str(caught.value).startswith(f"--from {behind} ")
    assert not (tmp_path / "mine").exists()


def test_an_unknown_protocol_is_one_line() -> None:
    with pytest.raises(UserError, match=r"store memry://x: unknown protocol 'memry'; did you mean memory"):
        Store("memry://x")
    with pytest.raises(UserError, match="unknown protocol 'foo'"):
        Store("foo://bar")


def test_a_missing_client_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    def lacks(_: str) -> None:
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr(fsspec.core, "url_to_fs", lacks)
    with pytest.raises(UserError, match=r"needs a package .*; install it with `pip install 'backstop-bench\[aws\]'`"):
        Store("s3://bucket/store")
    with pytest.raises(UserError, match="Install s3fs to access S3"):
        Store("other://bucket")


def test_a_place_that_cannot_be_reached_is_one_line(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class EndpointConnectionError(Exception):
        """What botocore raises is no OSError."""

    def down(_: str) -> bytes:
        raise EndpointConnectionError("Could not connect\nto the endpoint URL")

    monkeypatch.setattr(fsspec.core.url_to_fs(url)[0], "cat_file", down)
    with pytest.raises(UserError, match="cannot be reached: Could not connect to the endpoint URL; check") as caught:
        Store(url)
    assert "\n" not in str(caught.value)


def test_a_remote_place_that_may_not_be_written_is_one_line(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: object) -> None:
        raise PermissionError("Forbidden")

    monkeypatch.setattr(fsspec.core.url_to_fs(url)[0], "pipe_file", forbidden)
    with pytest.raises(UserError, match="must be writable, got one that is read-only; choose another with --store"):
        Store(url).draft("pretrain", "k1")


def test_a_read_only_folder_is_refused_before_anything_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Store(tmp_path / "new" / "store").require_writable()  # it can be made
    monkeypatch.setattr("os.access", lambda *_: False)  # as it is on a file system that is mounted read-only
    with pytest.raises(UserError, match="must be writable, got one that is read-only"):
        Store(tmp_path).require_writable()
