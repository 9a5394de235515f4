"""The journal tells of a run whatever befalls its store, and never stands before what ended the run."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from benchmark.engine import journal
from benchmark.engine.journal import Journal, last_run
from benchmark.store.artifacts import Store

pytestmark = pytest.mark.unit


class Shaky(Store):
    """A store whose connection breaks at some writings, with a class that is no OSError, as botocore has its own."""

    broken: frozenset[int] = frozenset()
    writings = 0

    def write_json(self, name: str, value: Any) -> None:
        self.writings += 1
        if self.writings in self.broken:
            raise RuntimeError("connection lost")
        super().write_json(name, value)


def test_a_lost_connection_does_not_end_the_journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "SOON_S", 0.01)
    monkeypatch.setattr(journal, "EVERY_S", 0.0)
    store = Shaky(tmp_path)
    store.broken = frozenset({2, 3})
    with Journal(store, "demo"):
        until = time.monotonic() + 20
        while store.writings < 6 and time.monotonic() < until:
            time.sleep(0.01)
        assert last_run(Store(tmp_path), "demo").state == "alive"
    assert last_run(Store(tmp_path), "demo").state == "ended"
    assert store.writings > 6


def test_what_ended_a_run_is_told_where_the_journal_cannot_be_written(tmp_path: Path) -> None:
    store = Shaky(tmp_path)
    store.broken = frozenset({2})
    with pytest.raises(KeyboardInterrupt), Journal(store, "demo"):
        raise KeyboardInterrupt
    store.writings = 0
    with pytest.raises(RuntimeError, match="connection lost"), Journal(store, "demo"):
        pass
