"""A store that was damaged in many places at once is mended by the same command, and ends in the same records."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from benchmark.store.artifacts import Store
from benchmark.store.schemas import VOLATILE
from tests.helpers.miniature import start

PART = ("--local", "--only", "objective=mmcl,attack=badnet")


def attempts(root: Path, stage: str) -> list[Path]:
    """Folders of the artifacts that stand, in an order of their own."""
    manifests = sorted(root.glob(f"{stage}/*/manifest.json"))
    return [file.parent / json.loads(file.read_text())["attempt"] for file in manifests]


def rows(root: Path) -> dict[str, list[dict[str, object]]]:
    """Key of the cell -> its records and trials, without what may differ between equal runs."""
    found = {}
    for folder in attempts(root, "record"):
        tables = [pq.read_table(file).to_pylist() for file in sorted(folder.glob("*.parquet"))]
        found[folder.parent.name] = [
            {name: value for name, value in row.items() if name not in VOLATILE} for table in tables for row in table
        ]
    return found


def run(root: Path) -> tuple[int, str]:
    process = start(root, *PART)
    _, complaints = process.communicate()
    return process.returncode, complaints


def damage(root: Path) -> list[str]:
    """Damages a finished store in every way that was once a dead end or a wrong number; what must be said of it."""
    for folder in attempts(root, "record"):
        shutil.rmtree(folder)
    shutil.rmtree(attempts(root, "data")[0])
    shutil.rmtree(attempts(root, "poison")[0])
    (attempts(root, "defend")[0] / "epochs.parquet").unlink()
    for folder in attempts(root, "pretrain"):
        weights = folder / "model.safetensors"
        data = bytearray(weights.read_bytes())
        data[-9] ^= 1
        weights.write_bytes(data)
        torn = root / "scratch" / "pretrain" / folder.parent.name
        torn.mkdir(parents=True)
        (torn / "checkpoint.safetensors").write_bytes(data[: len(data) // 2])
    (attempts(root, "evaluate")[0].parent / "manifest.json").write_text('{"attempt": ')
    (root / "suites" / "smoke.json").write_text('{"cells": [')
    return [
        "records.parquet is missing",
        "images.npy is missing",
        "manifest.parquet is missing",
        "epochs.parquet is missing",
        "model.safetensors is not what was written",
        "manifest.json: Invalid JSON",
        "suites/smoke.json must be a document as runs write it",
        "checkpoint.safetensors cannot be read",
    ]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_damaged_store_is_mended_by_the_same_command(tmp_path: Path) -> None:
    code, _ = run(tmp_path)
    assert code == 0
    calm = rows(tmp_path)
    assert calm
    said = damage(tmp_path)
    assert rows(tmp_path) != calm
    code, complaints = run(tmp_path)
    assert code == 0
    assert [text for text in said if text not in complaints] == []
    assert "Traceback" not in complaints
    assert rows(tmp_path) == calm
    assert run(tmp_path) == (0, "")
    assert Store(tmp_path).read_json("suites/smoke.json") is not None
