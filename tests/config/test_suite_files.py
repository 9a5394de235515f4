"""Suites from files: JSON as it is shown, Python with a suite in it; what is wrong is one line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmark.cli.check import check
from benchmark.config import registry
from benchmark.engine.suites import resolve
from benchmark.errors import UserError
from benchmark.store.artifacts import Store
from tests.config.suites import suite

pytestmark = pytest.mark.unit
PYTHON = '''"""A suite with a repair of its own."""
from typing import ClassVar
from suites.smoke import suite as smoke
from benchmark.types import Card, Repair

class Mine(Repair):
    """Nothing."""
    name: ClassVar[str] = "mine"
    card: ClassVar[Card] = Card(title="T", citation="C", access="weights", summary="S")
    def repair(self, model, ctx):
        return model

def suite():
    return smoke().model_copy(update={"name": "my-suite", "repairs": (Mine(),)})
'''


@pytest.fixture(autouse=True)
def _nothing_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_PLUGINS", {})


def opened(file: Path, text: str, **more: object) -> object:
    file.write_text(text)
    return resolve(str(file), store=Store(file.parent / "store"), **more)  # type: ignore[arg-type]


def test_a_suite_is_read_from_its_json(tmp_path: Path) -> None:
    found = opened(tmp_path / "small.json", json.dumps(suite().to_dict()), assignments=["seeds=[3]"])
    assert found == (
        suite().model_copy(update={"seeds": (3,)}),
        (),
        f"backstop run {tmp_path / 'small.json'} --set 'seeds=[3]'",
    )


def test_a_python_file_holds_a_suite_and_methods_whose_hash_is_the_files(tmp_path: Path) -> None:
    found = opened(tmp_path / "my_suite.py", PYTHON)
    (plugin,) = found.plugins  # type: ignore[attr-defined]
    assert found.suite.name == "my-suite"  # type: ignore[attr-defined]
    assert found.suite.repairs[0].identity()["source"] == plugin.hash  # type: ignore[attr-defined]
    value = PYTHON.replace("def suite():\n    return ", "SUITE = ")
    assert opened(tmp_path / "other.py", value).suite.name == "my-suite"  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        (
            "a.json",
            '{"name": "a",\n "title": }',
            "must be JSON, got Expecting value at line 2, column 11; mend it",
        ),
        ("a.json", "[1]", "must be a JSON object, got a list"),
        ("a.json", json.dumps(suite().to_dict() | {"seed": 1}), ": unknown field 'seed'; did you mean seeds"),
        ("a.json", json.dumps(suite().to_dict() | {"pretrain": {"epoch": 1}}), ".pretrain: unknown field 'epoch'; did"),
        ("a.json", json.dumps(suite().to_dict() | {"data": {"name": "shape"}}), ".data: unknown dataset 'shape'; did"),
        ("a.json", json.dumps({"name": "a"}), ".objectives must be given"),
        (
            "a.json",
            json.dumps(suite().to_dict() | {"repairs": [{"kind": "repair", "name": "x", "source": "ab"}]}),
            "repair x must be loaded from its source ab, got none; give its file with --plugin: store",
        ),
        ("a.py", "x = 1", "must define a function suite() or a value SUITE, got neither; add one"),
        ("a.py", "SUITE = 3", "must be a benchmark.config.spec.Suite, got a int"),
        ("a.py", "def suite():\n    return 1 / 0", ": ZeroDivisionError: division by zero; mend the file"),
        (
            "a.py",
            "from benchmark.config.spec import *\nSUITE = Suite(name='a')",
            "a.py: Suite.objectives must be given",
        ),
    ],
)
def test_a_file_that_holds_no_suite_is_one_line(name: str, text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        opened(tmp_path / name, text)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ('searched=["cleanclp"]', "suite smoke.searched: unknown repair 'cleanclp'; did you mean cleanclip"),
        ('spaces.cleanclp.epochs={"low": 1, "high": 2}', "suite smoke.spaces: unknown repair 'cleanclp'"),
        ('defended_attacks=["badnt"]', "suite smoke.defended_attacks: unknown attack 'badnt'; did you mean badnet"),
        ('defended_objectives=["mcl"]', "suite smoke.defended_objectives: unknown objective 'mcl'; did you mean mmcl"),
        (
            'spaces.cleanclip.learnin_rate={"low": 0.1, "high": 0.2}',
            "unknown field of cleanclip in its search space: 'learnin_rate'; did you mean learning_rate",
        ),
        (
            'searched=["batch-norm-only"]',
            "search of batch-norm-only must be over at least one range, got {}; give `spaces`",
        ),
    ],
)
def test_what_no_method_has_is_one_line_wherever_a_suite_names_it(option: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        resolve("smoke", [option])
    assert str(caught.value).startswith(message)


def test_a_suite_may_search_what_it_does_not_have_yet() -> None:
    assert not resolve("smoke", ["repairs=[]"]).suite.repairs
    grown = resolve("smoke", ['searched=["cleanclip", "par"]'], None, ["repair=par:batch_size=64"]).suite
    assert [cell.repair.name for cell in grown.experiments() if cell.search and cell.repair][-1] == "par"


@pytest.mark.parametrize("name", ["none.json", "none.py"])
def test_a_file_that_is_not_there_is_one_line(name: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="must be a file, got none there"):
        resolve(str(tmp_path / name), store=Store(tmp_path))


def test_a_key_that_no_record_has_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"record must be the key of one in store .*, got 'abcdef'; none begins so"):
        resolve("abcdef", store=Store(tmp_path))


def test_check_looks_at_the_suite_of_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "small.json"
    file.write_text(json.dumps(suite().to_dict()))
    assert check(str(file), as_json=True) == 0
    (told,) = json.loads(capsys.readouterr().out)["small"]
    assert told == {"name": "suite", "ok": True, "detail": f"{len(suite().experiments())} cells"}
