"""What a terminal shows: nothing that it cannot write, and how to go on."""

from __future__ import annotations

import io
import shlex
import sys
from pathlib import Path

import pytest

from benchmark.cli import app
from benchmark.engine.document import write_suite
from benchmark.engine.journal import Journal
from benchmark.engine.suites import resolve
from benchmark.stages.keys import cells_of
from benchmark.store.artifacts import Store
from tests.cli.conftest import Call
from tests.helpers import fake_suite


def test_a_terminal_that_cannot_write_a_sign_shows_another(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(shown, encoding="ascii"))
    monkeypatch.setattr(sys, "argv", ["backstop", "list", "objectives"])
    with pytest.raises(SystemExit) as end:
        app.main()
    sys.stdout.flush()
    assert not end.value.code
    assert b"access training ? arXiv:2103.00020" in shown.getvalue()


def test_the_status_of_a_run_that_left_cells_says_how_to_go_on(tmp_path: Path, call: Call) -> None:
    cells = fake_suite.grid((), (0,))
    store = Store(tmp_path)
    for left, told in ((cells[:1], True), ([], False)):
        done = {"final": True, "statuses": {"undefended": "ok"}}
        fake_suite.write(store, cells, {cell["cell"]: None for cell in left}, facts=done)
        with Journal(store, "demo"):
            pass
        code, out, _ = call("status", "demo", "--store", str(tmp_path))
        assert code == 0
        assert out.startswith("demo: the last run ended ")
        assert (f"; to go on: backstop run demo --store {tmp_path}" in out.splitlines()[0]) is told


def test_how_to_go_on_is_told_as_a_shell_takes_it_back(tmp_path: Path, call: Call) -> None:
    given = ["--set", 'objectives=["mmcl"]', "--add", 'repair=cleanclip:variant="as_released"']
    store = Store(tmp_path / "my store")
    resolved = resolve("smoke", given[1::4], additions=given[3::4], store=store)
    write_suite(store, resolved.suite, cells_of(resolved.suite), command=resolved.command, environment={})
    with Journal(store, "smoke"):
        pass
    _, out, _ = call("status", "smoke", "--store", store.root)
    told = out.splitlines()[0].partition("; to go on: ")[2]
    assert shlex.split(told) == ["backstop", "run", "smoke", *given, "--store", store.root]
