"""The journal tells of a run whatever befalls its store, and never stands before what ended the run."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from benchmark.engine import journal
from benchmark.engine.journal import Journal, last_run
from benchmark.stages.node import Node
from benchmark.stages.pretrain import Pretrain
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


def test_two_runs_of_one_suite_are_both_told_of_and_the_end_of_one_hides_no_other(tmp_path: Path) -> None:
    store, pretrain = Store(tmp_path), Pretrain()
    with Journal(store, "demo") as first:
        with Journal(store, "demo") as second:
            for number, run in enumerate((first, second)):
                run.running([Node(pretrain, str(number) * 32, f"model {number}")])
                run._write()
            both = last_run(store, "demo")
            assert (both.state, both.others, sorted(both.running.values())) == ("alive", 1, ["model 0", "model 1"])
        left = last_run(store, "demo")
        assert (left.state, left.others, [*left.running.values()]) == ("alive", 0, ["model 0"])
    assert last_run(store, "demo").state == "ended"


def test_a_run_sweeps_up_the_journals_of_those_that_are_over_and_of_its_own_suite_alone(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for suite in ("demo", "demo-two"):
        with Journal(store, suite):
            pass
    store.write_json("runs/demo.torn.json", [])
    with Journal(store, "demo"), Journal(store, "demo"):
        names = [name.partition(".")[0] for name in store.list_json("runs")]
        assert sorted(names) == ["demo", "demo", "demo-two"]
