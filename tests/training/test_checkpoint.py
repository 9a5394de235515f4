"""Checkpoints of a running training: one that cannot be read is dropped and said, never a dead end."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from benchmark.training import checkpoint

pytestmark = pytest.mark.unit
SNAPSHOT = checkpoint.Snapshot(2, 8, [{"loss": 1.0}], {"w": torch.ones(3)}, {"m": torch.zeros(3)}, {}, {})


def foreign(file: Path) -> None:
    save_file({"network|w": torch.ones(3)}, file)


TORN: dict[str, Callable[[Path], object]] = {
    "truncated": lambda file: file.write_bytes(file.read_bytes()[:-5]),
    "truncated in its header": lambda file: file.write_bytes(file.read_bytes()[:20]),
    "empty": lambda file: file.write_bytes(b""),
    "something else": lambda file: file.write_bytes(b"\xff" * 64),
    "without our facts": foreign,
}


def test_a_snapshot_comes_back(tmp_path: Path) -> None:
    assert checkpoint.load(tmp_path) is None
    checkpoint.save(tmp_path, SNAPSHOT)
    found = checkpoint.load(tmp_path)
    assert found is not None
    assert found[:3] == SNAPSHOT[:3]
    assert torch.equal(found.network["w"], torch.ones(3))


@pytest.mark.parametrize("name", TORN)
def test_a_torn_checkpoint_is_dropped_and_said(name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    checkpoint.save(tmp_path, SNAPSHOT)
    (file,) = tmp_path.iterdir()
    TORN[name](file)
    assert checkpoint.load(tmp_path) is None
    (line,) = caplog.messages
    assert str(file) in line
    assert "it is dropped, training starts anew" in line
    assert not file.exists()
    assert checkpoint.load(tmp_path) is None
    assert len(caplog.messages) == 1
