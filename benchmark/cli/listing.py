"""`backstop list` and `backstop show`: what there is, and what a suite says in full."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic_core import to_jsonable_python
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from benchmark.config import registry
from benchmark.config.overrides import GRID
from benchmark.config.plugins import load_files
from benchmark.engine.suites import Resolved
from benchmark.errors import unknown
from benchmark.output import print_json
from benchmark.types import Method


def list_all(what: str | None, plugins: Sequence[str] | None, *, as_json: bool) -> None:
    """Prints suites, and methods with their cards: all, one kind, or the methods of one suite.

    Raises:
        UserError: neither a kind nor a suite.
    """
    load_files(plugins or ())
    chosen = _chosen(what)
    suites = {name: registry.suite(name)().title for name in registry.names("suite") if name in chosen.get("suite", ())}
    methods = {
        kind: {name: _describe(registry.method(kind, name)) for name in chosen[kind]}
        for kind in registry.KINDS
        if chosen.get(kind)
    }
    if as_json:
        print_json({"suites": suites, "methods": methods})
        return
    console = Console()
    if suites:
        console.print(_listing("Suites", {name: (title, "") for name, title in suites.items()}))
    for kind, found in methods.items():
        told = {name: (item["card"]["summary"], _small_print(item["card"])) for name, item in found.items()}
        console.print(_listing(f"\n{kind.capitalize()}s", told))


def _chosen(what: str | None) -> dict[str, list[str]]:
    """Names by kind, "suite" among them, that a word asks for: none, a kind (also in the plural), or a suite."""
    kinds = ("suite", *registry.KINDS)
    if what is None:
        return {kind: registry.names(kind) for kind in kinds}
    kind = what.removesuffix("s")
    if kind in kinds:
        return {kind: registry.names(kind)}
    if what not in registry.names("suite"):
        raise unknown("kind or suite", what, [*(f"{name}s" for name in kinds), *registry.names("suite")])
    suite = registry.suite(what)()
    used = {kind: sorted({item.name for item in suite.methods(kind)}) for kind in GRID}
    sets = [item.name for item in (suite.data, suite.evaluation) if item]
    return {"suite": [what], "dataset": sets} | used


def _listing(title: str, entries: Mapping[str, tuple[str, str]]) -> Group:
    """A title, and per name what it is with its small print below."""
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column()
    for name, (text, small) in entries.items():
        table.add_row(f"  {name}", Text.assemble(text, *(["\n", (small, "dim")] if small else [])))
    return Group(Text(title, style="bold underline"), table)


def _small_print(card: Mapping[str, Any]) -> str:
    """What a method works on, what it asks for, where it comes from, and which defaults are not as published."""
    needs = f" · needs {', '.join(card['needs'])}".replace("_", " ") if card["needs"] else ""
    needs += f"; with some fields {', '.join(card['may_need'])}".replace("_", " ") if card["may_need"] else ""
    differs = "; ".join(f"{item['field']} {item['value']} ({item['source']})" for item in card["differs"])
    published = f"\npublished, where the defaults differ: {differs}" if differs else ""
    return f"access {card['access']}{needs} · {card['citation']}{published}"


def _describe(cls: type[Method]) -> dict[str, Any]:
    """A method as it is written on paper, at its defaults: null where there is none; and its card."""
    defaults = {name: field.get_default(call_default_factory=True) for name, field in cls.model_fields.items()}
    required = {name for name, field in cls.model_fields.items() if field.is_required()}
    written = {"kind": cls.kind, "name": cls.name, "version": cls.version}
    source = {"source": cls.plugin_source_hash} if cls.plugin_source_hash else {}
    fields = {name: None if name in required else to_jsonable_python(value) for name, value in defaults.items()}
    needs = cls.model_construct().needs  # unchecked: a field that must be given decides nothing here
    asked = {"needs": sorted(needs), "may_need": sorted(cls.card.needs - needs)}
    card = cls.card.model_dump(mode="json") | asked
    return written | source | {"fields": fields, "required": sorted(required), "card": card}


def show(resolved: Resolved) -> None:
    """Prints a suite in full, as `backstop run` reads it."""
    written = resolved.suite.to_dict()
    print_json({"name": written["name"], "title": written["title"]} | written, indent=2)
