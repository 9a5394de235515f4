"""The store: no manifest, no artifact; newer formats; read-only stores behind; remote file systems."""

from __future__ import annotations

import json
import pickle
import uuid
from pathlib import Path

import fsspec
import pytest

from benchmark.errors import UserError
from benchmark.store.artifacts import Store, open_store
from benchmark.store.format import FORMAT_VERSION

pytestmark = pytest.mark.unit


@pytest.fixture(params=["local", "memory"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A fresh root on a local disk, or on a file system that is not local."""
    return str(tmp_path / "store") if request.param == "local" else f"memory://{uuid.uuid4().hex}/store"


def write(store: Store, key: str = "k1", text: str = "weights") -> None:
    draft = store.draft("pretrain", key)
    draft.path("model.txt").write_text(text)
    draft.path("more.bin").write_bytes(bytes(range(7)))
    draft.commit({"epochs": 3})


def test_an_artifact_comes_back(root: str) -> None:
    store = Store(root)
    assert store.find("pretrain", "k1") is None
    assert not store.has("pretrain", "k1")
    write(store)
    assert store.has("pretrain", "k1")
    for opened in (store, Store(root), pickle.loads(pickle.dumps(store))):
        found = opened.find("pretrain", "k1")
        assert found is not None
        assert (found.stage, found.key, found.facts) == ("pretrain", "k1", {"epochs": 3})
        assert found.path("model.txt").read_text() == "weights"
        assert found.path("more.bin").read_bytes() == bytes(range(7))
    assert store.find("pretrain", "k2") is None
    assert store.find("defend", "k1") is None


def test_without_a_manifest_nothing_exists(root: str) -> None:
    store = Store(root)
    draft = store.draft("pretrain", "k1")
    draft.path("model.txt").write_text("half")  # and here the run dies
    assert not store.has("pretrain", "k1")
    assert Store(root).find("pretrain", "k1") is None
    write(store, text="whole")
    found = Store(root).find("pretrain", "k1")
    assert found is not None
    assert found.path("model.txt").read_text() == "whole"


def test_a_crash_while_files_are_published_leaves_no_artifact(root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(root)
    draft = store.draft("pretrain", "k1")
    draft.path("model.txt").write_text("weights")

    def dies(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("benchmark.store.roots.Root.write", dies)
        with pytest.raises(KeyboardInterrupt):
            draft.commit({})
    assert Store(root).find("pretrain", "k1") is None


def test_the_later_commit_of_two_is_whole(root: str) -> None:
    store = Store(root)
    write(store, text="first")
    write(store, text="second")
    found = store.find("pretrain", "k1")
    assert found is not None
    assert found.path("model.txt").read_text() == "second"


def test_manifest_names_attempt_and_hashes(tmp_path: Path) -> None:
    write(Store(tmp_path))
    folder = tmp_path / "pretrain" / "k1"
    manifest = json.loads((folder / "manifest.json").read_text())
    assert (folder / manifest["attempt"] / "model.txt").exists()
    # sha256 of "weights", as `printf weights | sha256sum` prints it
    assert manifest["files"]["model.txt"] == "9a129038d9a00aed0cf6a7ea059ca50a813449061ab87848cf1a13eafdf33b2c"
    assert sorted(path.name for path in folder.iterdir()) == sorted([manifest["attempt"], "manifest.json"])


def test_a_store_of_a_newer_version_is_refused(root: str) -> None:
    write(Store(root))
    fs, base = fsspec.core.url_to_fs(root)
    assert json.loads(fs.cat_file(f"{base}/format.json")) == {"version": FORMAT_VERSION}
    fs.pipe_file(f"{base}/format.json", json.dumps({"version": FORMAT_VERSION + 1}).encode())
    for opening in (lambda: Store(root), lambda: Store("memory://other", read_only=(root,))):
        with pytest.raises(UserError, match=f"format.version must be at most {FORMAT_VERSION}, got") as caught:
            opening()
        assert "\n" not in str(caught.value)
        assert root in str(caught.value)


def test_read_only_stores_stand_behind(root: str, tmp_path: Path) -> None:
    write(Store(root), text="theirs")
    before = sorted(fsspec.core.url_to_fs(root)[0].find(fsspec.core.url_to_fs(root)[1]))
    mine = Store(tmp_path / "mine", read_only=(root,))
    found = mine.find("pretrain", "k1")
    assert mine.has("pretrain", "k1")
    assert found is not None
    assert found.path("model.txt").read_text() == "theirs"
    write(mine, text="mine")
    write(mine, key="k2")
    found = mine.find("pretrain", "k1")
    assert found is not None
    assert found.path("model.txt").read_text() == "mine"  # the writable one comes first
    assert not Store(root).has("pretrain", "k2")
    assert sorted(fsspec.core.url_to_fs(root)[0].find(fsspec.core.url_to_fs(root)[1])) == before
    assert pickle.loads(pickle.dumps(mine)).behind == mine.behind


def test_looking_writes_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    assert store.find("data", "k") is None
    assert store.list_json("records") == []
    assert not (tmp_path / "store").exists()


def test_documents_at_the_root(root: str) -> None:
    store = Store(root)
    assert store.read_json("records/a.json") is None
    store.write_json("records/b.json", {"x": 1})
    store.write_json("records/a.json", [1, 2])
    store.write_json("records/a.json", [3])
    assert store.read_json("records/a.json") == [3]
    assert Store(root).list_json("records") == ["a", "b"]


def test_scratch_is_kept_until_it_is_cleared(root: str) -> None:
    store, key = Store(root), uuid.uuid4().hex
    (store.scratch("pretrain", key) / "checkpoint").write_text("half")
    again = Store(root).scratch("pretrain", key)
    assert (again / "checkpoint").read_text() == "half"
    store.clear_scratch("pretrain", key)
    assert not again.exists()


def test_a_root_that_is_a_file_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="must be a folder or a URL, got a file; choose another with") as caught:
        Store(tmp_path / "file")  # a plan, which writes nothing, must find it too
    assert "\n" not in str(caught.value)


def test_default_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("BACKSTOP_STORE", raising=False)
    assert open_store().root == "store"
    monkeypatch.setenv("BACKSTOP_STORE", str(tmp_path / "elsewhere"))
    assert open_store().root == str(tmp_path / "elsewhere")
    assert open_store("given").root == "given"


def test_a_store_travels_with_an_absolute_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that stands in another folder must write to the driver's store."""
    monkeypatch.chdir(tmp_path)
    write(Store("there"))
    pickled = pickle.dumps(Store("here", read_only=("there",)))
    monkeypatch.chdir("/")
    found = pickle.loads(pickled)
    assert found.local_root == tmp_path / "here"
    assert found.behind == (str(tmp_path / "there"),)
