"""Tests of data sets have caches of their own, and no network."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Own caches, and no network."""

    def refused(*_: Any, **__: Any) -> None:
        raise AssertionError("local data must not touch the network")

    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "hf-cache"))
    monkeypatch.setenv("BACKSTOP_CACHE", str(tmp_path / "user-cache"))
    monkeypatch.setattr(socket.socket, "connect", refused)
