"""`backstop list` and `backstop show`: what there is, and what a suite says in full."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from benchmark.cli.suites import Resolved
from benchmark.config import registry
from benchmark.config.overrides import GRID
from benchmark.config.plugins import load_files
from benchmark.config.spec import Grid
from benchmark.output import print_json
from benchmark.types import Method


def list_all(plugins: Sequence[str] | None, *, as_json: bool) -> None:
    """Prints suites, and methods with their cards."""
    load_files(plugins or ())
    suites = {name: registry.suite(name)().title for name in registry.names("suite")}
    methods = {
        kind: {name: _card(registry.method(kind, name)) for name in registry.names(kind)} for kind in registry.KINDS
    }
    if as_json:
        print_json({"suites": suites, "methods": methods})
        return
    console = Console()
    console.print(_listing("Suites", {name: (title, "") for name, title in suites.items()}))
    for kind, found in methods.items():
        told = {name: (card["summary"], _small_print(card)) for name, card in found.items()}
        console.print(_listing(f"\n{kind.capitalize()}s", told))


def _listing(title: str, entries: Mapping[str, tuple[str, str]]) -> Group:
    """A title, and per name what it is with its small print below."""
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column()
    for name, (text, small) in entries.items():
        table.add_row(f"  {name}", Text.assemble(text, *(["\n", (small, "dim")] if small else [])))
    return Group(Text(title, style="bold underline"), table)


def _small_print(card: Mapping[str, Any]) -> str:
    """What a method works on, what it asks for, and where it comes from."""
    needs = f" · needs {', '.join(card['needs'])}".replace("_", " ") if card["needs"] else ""
    return f"access {card['access']}{needs} · {card['citation']}"


def _card(cls: Any) -> dict[str, Any]:
    return cls.card.model_dump(mode="json") | {"needs": sorted(cls.card.needs), "fields": sorted(cls.model_fields)}


def show(resolved: Resolved) -> None:
    """Prints a suite in full, with the names of its methods."""
    suite = resolved.suite
    dump = {"name": suite.name, "title": suite.title} | suite.model_dump(mode="json", exclude={"also"})
    for field in ("data", "evaluation"):
        method = getattr(suite, field)
        dump[field] = method and _named(method)
    dump |= _grid(suite)
    dump["also"] = [grid.model_dump(mode="json") | _grid(grid) for grid in suite.also]
    print(json.dumps(dump, indent=2))


def _grid(grid: Grid) -> dict[str, Any]:
    """The methods of a grid, with their names."""
    methods = {field: [_named(method) for method in getattr(grid, field)] for field in GRID.values()}
    return methods | {"searched": sorted(grid.searched)}


def _named(method: Method) -> dict[str, Any]:
    return {"name": method.name, "version": method.version} | method.model_dump(mode="json")
