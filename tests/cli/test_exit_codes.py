"""How a command ends: 0 as expected, 1 something asked for was not measured, 2 a user's mistake, 130 interrupted."""

from __future__ import annotations

import errno
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest

from benchmark.engine.driver import SuiteRun
from benchmark.engine.suites import resolve
from benchmark.stages.finish import Record
from benchmark.stages.keys import cells_of
from benchmark.stages.node import Ended, Node, Ref
from benchmark.store.artifacts import Store
from benchmark.store.schemas import Status
from tests.cli.conftest import Call
from tests.helpers import fake_suite

CLEAN = ["smoke", "--set", "attacks=[]", "--set", "repairs=[]"]  # two cells


def finish(root: Path, status: str) -> None:
    """Leaves a final record of this status for one cell, and one that is ok for the other."""
    for cell, value in zip(cells_of(resolve(CLEAN[0], CLEAN[2::2]).suite), (status, "ok"), strict=True):
        Store(root).draft("record", cell.keys.record).commit({"statuses": {"undefended": value}, "final": True})


@pytest.mark.parametrize("status", [status for status in get_args(Status) if status != "missing"])
def test_run_ends_with_one_where_a_cell_was_not_measured(status: str, tmp_path: Path, call: Call) -> None:
    finish(tmp_path, status)
    code, out, _ = call("run", *CLEAN, "--store", str(tmp_path), "--json")
    assert code == (1 if status in ("failed", "out_of_memory", "timed_out") else 0)
    assert json.loads(out)["statuses"] == ({"ok": 2} if status == "ok" else {"ok": 1, status: 1})
    assert call("status", "smoke", "--store", str(tmp_path))[0] == 0  # looking is no failure


def test_cells_that_a_run_left_without_a_record_are_missing(
    tmp_path: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SuiteRun, "run", lambda _: print("from a method"))
    code, out, err = call("run", *CLEAN, "--local", "--quiet", "--store", str(tmp_path), "--json")
    assert code == 1
    assert json.loads(out)["statuses"] == {"missing": 2}  # one document, whatever methods print
    assert "from a method" in err
    code, out, _ = call("run", *CLEAN, "--local", "--quiet", "--store", str(tmp_path))
    assert code == 1
    assert "from a method" in out
    assert "2 cells, 0 records in " in out and "2 missing: no record was written" in out


def test_a_record_that_could_not_be_written_says_why(
    tmp_path: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    def end(run: SuiteRun) -> None:
        for cell in cells_of(resolve(CLEAN[0], CLEAN[2::2]).suite):
            ref = Ref("record", cell.keys.record)
            run.graph.nodes[ref] = Node(Record(), ref.key, "record")
            run.graph.ended[ref] = Ended("failed", "ArrowInvalid: too large")

    monkeypatch.setattr(SuiteRun, "run", end)
    code, out, _ = call("run", *CLEAN, "--local", "--quiet", "--store", str(tmp_path))
    assert code == 1
    assert out.splitlines()[1:3] == ["2 failed: ArrowInvalid: too large", "2 missing: no record was written"]


def test_a_plugin_that_prints_leaves_json_alone(tmp_path: Path, call: Call) -> None:
    plugin = tmp_path / "noisy.py"
    plugin.write_text(
        "from benchmark.types import Card, Repair\nprint('HELLO')\n\n\nclass Noisy(Repair):\n    name = 'noisy'\n"
        "    card = Card(title='Noisy', citation='none', access='weights', needs=frozenset(), summary='Prints.')\n"
    )
    code, out, err = call("list", "--plugin", str(plugin), "--json")
    assert code == 0
    assert "noisy" in json.loads(out)["methods"]["repair"]
    assert "HELLO" in err


STAGE = """
from benchmark.stages.node import Node, Ref, Stage


class Odd(Stage):
    name, title, place, finished, lasting = "odd", "odd things", "driver", True, False

    def nodes(self, cell, rows):
        yield Node(self, "k", "one", after=WAITS)

    def run(self, nodes, at):
        RUN

    def then(self, node, ended):
        THEN
        return ()
"""
FAULTS = {
    "circle": ({"WAITS": '(Ref("odd", "k"),)'}, 2, "nodes must be free of circles, got 'one (odd)'; mend `nodes` or"),
    "then": ({"THEN": 'raise KeyError("x")'}, 2, "plugin odd.py: KeyError: 'x' (line 15, in then); mend the file"),
    "nodes": ({"WAITS": "1 / 0"}, 2, "plugin odd.py: ZeroDivisionError: division by zero (line 9, in nodes); mend"),
    "run": ({"RUN": 'raise ValueError("x")'}, 1, "failed: ValueError: x"),
    "exit": ({"RUN": "raise SystemExit(0)"}, 1, "failed: SystemExit: the code called sys.exit(0)"),
    "name": ({'"odd",': '"../odd",'}, 2, "stage Odd: name must be letters, digits, '-', '_' and '.', got '../odd';"),
    "title": ({'"odd things"': '""'}, 2, "stage Odd: title must be given, got ''; add one"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_stage_of_a_plugin_that_is_broken_is_one_line(fault: str, tmp_path: Path, call: Call) -> None:
    changes, code, told = FAULTS[fault]
    source = STAGE
    for old, new in ({"WAITS": "()", "RUN": "return None", "THEN": "pass"} | changes).items():
        source = source.replace(old, new)
    (tmp_path / "odd.py").write_text(source)
    finish(tmp_path, "ok")
    found, out, err = call("run", *CLEAN, "--local", "--store", str(tmp_path), "--plugin", str(tmp_path / "odd.py"))
    assert found == code
    assert (told in out) == (code == 1)  # the last lines tell again what failed
    (line,) = [line for line in err.splitlines() if told in line]
    assert line.startswith("backstop: ") or code == 1


def test_an_interrupt_says_how_to_go_on(tmp_path: Path, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_: SuiteRun) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(SuiteRun, "run", interrupted)
    code, out, err = call("run", *CLEAN, "--local", "--quiet", "--store", str(tmp_path))
    assert (code, out) == (130, "")
    assert err == "backstop: interrupted; run the same command again to go on\n"


REFUSALS = {
    "full disk": (OSError(errno.ENOSPC, "No space left on device", "/d/x"), "/d/x must have space left, got none"),
    "quota": (OSError(errno.EDQUOT, "Disk quota exceeded", "/d/x"), "/d/x must have space left, got none"),
    "read-only": (
        OSError(errno.EROFS, "Read-only file system", "/d/x"),
        "/d/x must be open to this user, got read-only",
    ),
    "broken disk": (
        OSError(errno.EIO, "Input/output error", "/d/x"),
        "/d/x must be open to this user, got input/output",
    ),
    "forbidden": (PermissionError(errno.EACCES, "Permission denied", "/d/x"), "got permission denied; choose another"),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_what_the_machine_refuses_is_one_line(
    name: str, tmp_path: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    error, told = REFUSALS[name]

    def refused(_: SuiteRun) -> None:
        raise error

    monkeypatch.setattr(SuiteRun, "run", refused)
    code, _, err = call("run", *CLEAN, "--local", "--quiet", "--store", str(tmp_path))
    assert code == 2
    (line,) = err.splitlines()
    assert told in line


PLACES = {
    "typo in --from": (
        ["plan", "smoke", "--from", "/nonexistent"],
        "--from /nonexistent must be a store, got no format",
    ),
    "unknown protocol": (["plan", "smoke", "--store", "foo://bar"], "store foo://bar: unknown protocol 'foo'"),
}


@pytest.mark.parametrize("name", PLACES)
def test_a_place_that_is_none_is_one_line(name: str, call: Call) -> None:
    words, told = PLACES[name]
    code, _, err = call(*words)
    assert code == 2
    (line,) = err.splitlines()
    assert told in line


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[Path]:
    """A finished store on a file system that is mounted read-only; a user who may not mount skips."""
    place = tmp_path / "mounted"
    place.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "none", str(place)], capture_output=True, check=False).returncode:
        pytest.skip("only a user who may mount can make a file system read-only")
    try:
        fake_suite.write(Store(place), fake_suite.grid((fake_suite.BADNET,), (0,)))
        subprocess.run(["mount", "-o", "remount,ro", str(place)], check=True)
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


def test_a_read_only_store_can_be_read_and_says_so_where_it_cannot(read_only: Path, call: Call) -> None:
    for words, told in (
        (
            ["run", *CLEAN, "--local", "--quiet"],
            "must be writable, got one that is read-only; choose another with --store",
        ),
        (
            ["board", "demo"],
            "must be open to this user, got read-only file system; choose another with --store or --out",
        ),
    ):
        code, _, err = call(*words, "--store", str(read_only))
        assert code == 2
        assert told in err.splitlines()[-1]
    assert call("status", "demo", "--store", str(read_only))[0] == 0
