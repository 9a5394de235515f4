"""Plugins: what cannot stand is one line; a store keeps their sources and runs none of them unasked."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmark.config import registry
from benchmark.config.plugins import Plugin, keep_sources, load_files, load_needed, load_plugin
from benchmark.errors import UserError
from benchmark.store.artifacts import Store

pytestmark = pytest.mark.unit
REPAIR = '''"""A repair."""
from typing import Annotated, ClassVar
from benchmark.types import Card, Range, Repair

class Tried(Repair):
    """Nothing."""
    name: ClassVar[str] = "NAME"
    card: ClassVar[Card] = Card(title="T", citation="C", access="weights", summary="S")
    epochs: int = 1
    def repair(self, model, ctx):
        return model
'''


@pytest.fixture(autouse=True)
def _nothing_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_PLUGINS", {})


def source(name: str = "tried", old: str = "", new: str = "") -> str:
    assert old in REPAIR
    return REPAIR.replace("NAME", name).replace(old, new) if old else REPAIR.replace("NAME", name)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (source("cleanclip"), "plugin p.py: name must be its own, got 'cleanclip'; an installed repair has this name"),
        (source(old="epochs: int = 1", new='epochs: int = "x"'), "plugin p.py: Tried.epochs must be a valid integer"),
        (source(old='summary="S"', new='needs={"foo"}'), "plugin p.py: Card.needs.0 must be 'clean_pairs', 'labels'"),
        (source(old='summary="S"', new='sumary="S"'), "plugin p.py: Card: unknown field 'sumary'"),
        (
            source(old="epochs: int = 1", new="rate: Annotated[float, Range(1e-2, 1e-5)] = 1e-3"),
            "plugin p.py: ValueError: Range must have low below high, got low 0.01 and high 1e-05; mend the file",
        ),
        (
            source(old="    card: ClassVar[Card] = Card(", new="    other: ClassVar[Card] = Card("),
            "plugin p.py: Tried.card must be a Card, got None; add one",
        ),
        (source("../tried"), "plugin p.py: name must be letters, digits, '-', '_' and '.', got '../tried'; choose"),
        (
            source(
                old="    epochs: int = 1\n", new="    def __init__(self, **given):\n        raise OSError('a\\nb')\n"
            ),
            "plugin p.py: Tried: OSError: a; mend the file",
        ),
        ("raise KeyError('a')", "plugin p.py: KeyError: 'a'; mend the file"),
        ("raise ValueError('two\\nlines')", "plugin p.py: ValueError: two; mend the file"),
        ("import sys; sys.exit(0)", "plugin p.py: SystemExit: the code called sys.exit(0); mend the file"),
        ("x = 1", "plugin p.py: defines no method; "),
        ("x = ", "plugin p.py: SyntaxError: "),
    ],
)
def test_what_cannot_stand_is_one_line(text: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError) as caught:
        load_plugin(Plugin("p", text))
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)
    assert capsys.readouterr() == ("", "")
    assert registry._PLUGINS == {}


def test_two_files_cannot_define_the_same_method(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.py").write_text(source() + f"# {name}\n")
    with pytest.raises(UserError, match=r"repair tried must be defined once, got a\.py and b\.py"):
        load_files([tmp_path / "a.py", tmp_path / "b.py"])


def test_a_store_keeps_sources_and_runs_them_only_where_that_is_asked_for(tmp_path: Path) -> None:
    plugin, store = Plugin("p", source()), Store(tmp_path / "store")
    (cls,) = load_plugin(plugin)
    written = {"repairs": [cls().to_dict()], "also": [{"repairs": [cls(epochs=2).to_dict()]}]}  # type: ignore[call-arg]
    assert load_needed(written, store, trusted=False) == ()  # it is loaded
    registry._PLUGINS.clear()
    with pytest.raises(UserError, match=r"give its file with --plugin: store .* has no copy"):
        load_needed(written, store, trusted=True)
    keep_sources(store, [plugin])
    assert (tmp_path / "store" / "plugins" / f"{plugin.hash}.py").read_text() == plugin.source
    with pytest.raises(UserError, match=rf"look at plugins/{plugin.hash}\.py in store .* with --trust-plugins"):
        load_needed(written, store, trusted=False)
    assert registry._PLUGINS == {}
    empty = Store(tmp_path / "empty", read_only=(str(tmp_path / "store"),))
    (found,) = load_needed(written, empty, trusted=True)
    assert found.hash == plugin.hash
    assert registry.from_dict("repair", cls().to_dict()).plugin_source_hash == plugin.hash


def test_a_copy_that_is_not_what_its_name_says_is_not_run(tmp_path: Path) -> None:
    plugin, store = Plugin("p", source()), Store(tmp_path)
    written = load_plugin(plugin)[0]().to_dict()
    registry._PLUGINS.clear()
    store.write_text(f"plugins/{plugin.hash}.py", "raise SystemExit('run')")
    with pytest.raises(UserError, match=r"a copy in store .* of another content"):
        load_needed(written, store, trusted=True)


def test_a_source_is_kept_in_a_remote_store_too() -> None:
    store = Store("memory://test-plugins")
    keep_sources(store, [Plugin("p", "x = 'ä'\n")])
    assert store.read_text(f"plugins/{Plugin('q', chr(120) + ' = ' + repr('ä') + chr(10)).hash}.py") == "x = 'ä'\n"
