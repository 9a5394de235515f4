"""A suite as the options of a command say it: its name, then --plugin, --add and --set."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from benchmark.config import registry
from benchmark.config.registry import Plugin
from benchmark.config.spec import Suite, override
from benchmark.errors import UserError, unknown
from benchmark.store.artifacts import Store, open_store

ALIASES = {"defense": "repair", "defence": "repair"}
GRID = {"attack": "attacks", "repair": "repairs", "detector": "detectors", "objective": "objectives"}


class Resolved(NamedTuple):
    """A suite after --plugin, --add and --set."""

    suite: Suite
    plugins: tuple[Plugin, ...]
    command: str


def store_at(path: str | None, behind: Sequence[str] | None = None) -> Store:
    """The store that a command works on."""
    return open_store(path, read_only=tuple(behind or ()))


def resolve(
    name: str,
    assignments: Sequence[str] | None = None,
    plugins: Sequence[str] | None = None,
    additions: Sequence[str] | None = None,
) -> Resolved:
    """Builds a suite from its name and the command's options.

    Raises:
        UserError: anything unknown, malformed or out of range.
    """
    assignments, plugins, additions = assignments or (), plugins or (), additions or ()
    loaded = tuple(registry.read_plugin(path) for path in plugins)
    for plugin in loaded:
        registry.load_plugin(plugin)
    suite: Suite = registry.suite(name)()
    for text in additions:
        suite = _added(suite, text)
    pairs = dict(_split(text, "--set") for text in assignments)
    words = ["backstop run", name, *(f"--plugin {p}" for p in plugins), *(f"--add {a}" for a in additions)]
    return Resolved(override(suite, pairs), loaded, " ".join([*words, *(f"--set {a}" for a in assignments)]))


def _split(text: str, option: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise UserError(f"{option} must be FIELD=VALUE, got {text!r}; e.g. pretrain.epochs=3")
    return name, value


def _added(suite: Suite, text: str) -> Suite:
    """Adds `KIND=NAME[:FIELD=VALUE,…]` to the grid."""
    kind, rest = _split(text, "--add")
    kind = ALIASES.get(kind, kind)
    if kind not in GRID:
        raise UserError(f"--add {text}: {unknown('kind', kind, [*GRID, 'defense'])}")
    name, _, fields = rest.partition(":")
    values = dict(_split(part, f"--add {text}") for part in fields.split(",") if part)
    method = registry.build(kind, registry.by_class_name(kind, name), {k: _literal(v) for k, v in values.items()})
    return suite.model_copy(update={GRID[kind]: (*getattr(suite, GRID[kind]), method)})


def _literal(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
