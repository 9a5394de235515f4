"""Manifests: what a stranger's store may say, and how what is wrong is told."""

from __future__ import annotations

import json
from typing import Any

import pytest

from benchmark.store.manifest import bare_name, parse_manifest

pytestmark = pytest.mark.unit
SHA = "0" * 64
OUTSIDE = ("", ".", "..", "/", "/tmp/x", "../x", "a/b", "a/", "..\\x", "a\\b", "C:x", "C:\\x", "\\\\host\\share", "a\0b")


@pytest.mark.parametrize("name", OUTSIDE)
def test_a_name_that_leaves_its_folder_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="must be a bare name"):
        bare_name(name)


@pytest.mark.parametrize("name", ["model.safetensors", "epoch-0001.json", "20261121T1-ab", "a b", "...", "é"])
def test_a_bare_name_passes(name: str) -> None:
    assert bare_name(name) == name


def manifest(**changed: Any) -> bytes:
    whole = {"attempt": "a1", "files": {"x": SHA}, "sizes": {"x": 3}, "facts": {"wall_s": float("nan")}}
    return json.dumps({**whole, **changed}).encode()


def test_a_manifest_reads_with_and_without_sizes() -> None:
    assert parse_manifest(manifest()).sizes == {"x": 3}
    old = json.loads(manifest())
    del old["sizes"]
    assert parse_manifest(json.dumps(old).encode()).sizes == {}


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "Invalid JSON"),
        (b'{"attempt": ', "Invalid JSON"),
        (b"[]", "object"),
        (b"{}", "attempt: Field required"),
        (manifest(facts=[]), "facts: Input should be"),
        (manifest(files={"x": "short"}), "files.x: "),
        (manifest(files={"../../x": SHA}), "files.../../x: must be a bare name"),
        (manifest(attempt="../a1"), "attempt: must be a bare name"),
        (manifest(sizes={"x": -1}), "sizes.x: "),
        (json.dumps({"attempt": "a1", "files": {}}).encode(), "facts: Field required"),
    ],
)
def test_what_is_no_manifest_is_one_line(data: bytes, told: str) -> None:
    with pytest.raises(ValueError, match="^[^\n]+$") as caught:
        parse_manifest(data)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)
