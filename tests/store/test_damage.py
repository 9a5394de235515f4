"""What cannot be read, or is not what was written, counts as absent: said in one line, and made again."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmark.engine.journal import last_run
from benchmark.errors import UserError
from benchmark.store import verify
from benchmark.store.artifacts import Store
from benchmark.store.suites import suite_document

pytestmark = pytest.mark.unit


def write(store: Store, *, text: str = "weights", key: str = "k1") -> None:
    draft = store.draft("pretrain", key)
    draft.path("model.txt").write_text(text)
    draft.commit({"epochs": 3})


def attempt(root: Path) -> Path:
    folder = root / "pretrain" / "k1"
    return folder / json.loads((folder / "manifest.json").read_text())["attempt"]


def flip(file: Path) -> None:
    """Changes one byte and leaves the size as it is."""
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


def edit(root: Path, **changed: object) -> None:
    file = root / "pretrain" / "k1" / "manifest.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changed))


def without_facts(root: Path) -> None:
    file = root / "pretrain" / "k1" / "manifest.json"
    file.write_text(json.dumps({k: v for k, v in json.loads(file.read_text()).items() if k != "facts"}))


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "byte flipped": (lambda root: flip(attempt(root) / "model.txt"), "model.txt is not what was written"),
    "truncated": (lambda root: (attempt(root) / "model.txt").write_text("we"), "model.txt has 2 bytes, not 7"),
    "file gone": (lambda root: (attempt(root) / "model.txt").unlink(), "model.txt is missing"),
    "attempt gone": (lambda root: shutil.rmtree(attempt(root)), "model.txt is missing"),
    "torn manifest": (lambda root: (root / "pretrain/k1/manifest.json").write_text('{"attempt": '), "Invalid JSON"),
    "empty manifest": (lambda root: (root / "pretrain/k1/manifest.json").write_text(""), "Invalid JSON"),
    "no facts": (without_facts, "facts: Field required"),
    "names a file outside": (lambda root: edit(root, files={"../x": "0" * 64}), "must be a bare name"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_damage_counts_as_absent_is_said_once_and_made_again(
    name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    damage, told = DAMAGES[name]
    write(Store(tmp_path))
    damage(tmp_path)
    store = Store(tmp_path)
    for _ in range(2):
        assert store.find("pretrain", "k1") is None
        assert store.facts("pretrain", "k1") is None
        assert not store.has("pretrain", "k1")
    (line,) = caplog.messages
    assert "\n" not in line
    assert line.startswith(f"backstop: store {tmp_path}/pretrain/k1")
    assert told in line
    assert line.endswith("it counts as absent and is made again when it is needed")
    write(store, text="again")
    found = Store(tmp_path).find("pretrain", "k1")
    assert found is not None
    assert found.path("model.txt").read_text() == "again"


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_artifact_of_a_store_behind_is_passed_over(
    name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    write(Store(first), text="damaged")
    write(Store(second), text="whole")
    DAMAGES[name][0](first)
    mine = Store(tmp_path / "mine", read_only=(str(first), str(second)))
    found = mine.find("pretrain", "k1")
    assert found is not None
    assert found.path("model.txt").read_text() == "whole"
    assert [line.endswith("it is passed over") for line in caplog.messages] == [True]


def test_damage_after_the_first_look_is_found_by_the_same_process(tmp_path: Path) -> None:
    store = Store(tmp_path)
    write(store)
    assert store.has("pretrain", "k1")
    flip(attempt(tmp_path) / "model.txt")
    assert not store.has("pretrain", "k1")


def test_manifests_from_before_sizes_are_verified_by_hash(tmp_path: Path) -> None:
    write(Store(tmp_path))
    edit(tmp_path, sizes={})
    assert Store(tmp_path).has("pretrain", "k1")
    (attempt(tmp_path) / "model.txt").write_text("we")
    assert not Store(tmp_path).has("pretrain", "k1")


def test_large_files_are_hashed_once_per_state_and_small_ones_once_per_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BACKSTOP_CACHE", str(tmp_path / "cache"))
    root = tmp_path / "store"
    draft = Store(root).draft("pretrain", "k1")
    draft.path("large").write_bytes(b"x" * verify.LARGE)
    draft.path("small").write_bytes(b"x")
    draft.commit({})
    hashed: list[str] = []
    real = verify.sha256
    monkeypatch.setattr(verify, "sha256", lambda path: hashed.append(path.name) or real(path))
    store = Store(root)
    assert store.has("pretrain", "k1")
    assert store.has("pretrain", "k1")
    assert hashed == ["small"]  # what was written was hashed then
    shutil.rmtree(tmp_path / "cache")
    assert Store(root).has("pretrain", "k1")
    assert Store(root).has("pretrain", "k1")
    assert hashed == ["small", "large", "small", "small"]
    os.utime(attempt(root) / "large", ns=(1, 1))
    assert Store(root).has("pretrain", "k1")
    assert hashed[4:] == ["large", "small"]
    flip(attempt(root) / "large")
    assert not Store(root).has("pretrain", "k1")


def test_a_cache_that_cannot_be_made_costs_time_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("BACKSTOP_CACHE", str(tmp_path / "file"))
    write(Store(tmp_path / "store"), text="x" * verify.LARGE)
    assert Store(tmp_path / "store").has("pretrain", "k1")


def test_a_memory_that_is_torn_is_no_proof(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BACKSTOP_CACHE", str(tmp_path / "cache"))
    write(Store(tmp_path / "store"), text="x" * verify.LARGE)
    memory = tmp_path / "cache" / "verified"
    assert memory.stat().st_mode & 0o077 == 0
    memory.write_bytes(b"\xff\xfe torn " + memory.read_bytes()[:7])
    assert Store(tmp_path / "store").has("pretrain", "k1")
    flip(attempt(tmp_path / "store") / "model.txt")
    assert not Store(tmp_path / "store").has("pretrain", "k1")


def test_a_torn_document_counts_as_absent(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = Store(tmp_path)
    store.write_json("suites/demo.json", {"cells": []})
    (tmp_path / "suites" / "demo.json").write_text('{"cells": [')
    assert store.read_json("suites/demo.json") is None
    assert "suites/demo.json must be a document as runs write it, got Invalid JSON" in caplog.text
    store.write_json("suites/demo.json", SUITE)
    assert store.read_json("suites/demo.json") == SUITE


SUITE = {
    "suite": "demo",
    "cells": [{"record": "r", "nodes": [["data", "k"]], "objective": "o", "attack": "a", "repair": "r", "seed": 0}],
}
JOURNAL = {"updated": 1.5, "ended": False, "host": "h", "process": 7, "running": [], "failed": []}


@pytest.mark.parametrize(
    ("name", "written", "told"),
    [
        ("suites/demo.json", [1], "Input should be an object"),
        ("suites/demo.json", {}, "suite: Field required"),
        ("suites/demo.json", SUITE | {"cells": [{}]}, "cells.0.record: Field required"),
        ("suites/demo.json", SUITE | {"methods": []}, "methods: Input should be an object"),
        ("runs/demo.json", [], "Input should be an object"),
        ("runs/demo.json", JOURNAL | {"process": 10**30}, "process: Input should be less than"),
        ("runs/demo.json", JOURNAL | {"process": -1}, "process: Input should be greater than 0"),
        ("runs/demo.json", JOURNAL | {"running": [["a", "b"]]}, "running.0: List should have at least 3 items"),
    ],
)
def test_a_document_of_another_form_counts_as_absent(
    name: str, written: object, told: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = Store(tmp_path)
    store.write_json("suites/demo.json", SUITE)
    store.write_json("runs/demo.json", JOURNAL)
    assert last_run(store, "demo").process == 7
    store.write_json(name, written)
    assert store.read_json(name) is None
    (line,) = caplog.messages
    assert f"{name} must be a document as runs write it, got {told}" in line
    assert last_run(store, "demo").state == ("none" if name.startswith("runs") else "died")


@pytest.mark.parametrize("text", ["[]", '{"version": "1"}', "{}", "", '{"version":'])
def test_a_format_that_cannot_be_read_is_one_line(text: str, tmp_path: Path) -> None:
    write(Store(tmp_path))
    (tmp_path / "format.json").write_text(text)
    with pytest.raises(UserError, match=r"format.json must be \{\"version\": 1\}, got something else") as caught:
        Store(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["../k1", "/tmp/k1", "..", "a/b", ""])
def test_keys_and_documents_that_leave_the_store_are_refused(name: str, tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    for action in (
        lambda: store.find("pretrain", name),
        lambda: store.has(name, "k1"),
        lambda: store.draft("pretrain", name),
        lambda: store.scratch(name, "k1"),
        lambda: store.clear_scratch(name, "k1"),
        lambda: store.write_json(f"suites/../{name}.json", {}),
        lambda: store.read_json(f"../{name}"),
    ):
        with pytest.raises(UserError, match="must be a bare name"):
            action()
    assert list(tmp_path.iterdir()) == []


def test_a_suite_that_is_there_but_cannot_be_read_is_not_proposed(tmp_path: Path) -> None:
    for name in ("other", "smoke"):
        (tmp_path / "suites" / f"{name}.json").mkdir(parents=True)
    with pytest.raises(UserError, match=r"unknown suite 'smoke'; did you mean other\?$"):
        suite_document(Store(tmp_path), "smoke")
