"""Names to methods and suites: entry points of installed packages, and what single-file plugins register."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from importlib.metadata import entry_points
from typing import Any, cast

from benchmark.config.notation import named
from benchmark.errors import must, unknown
from benchmark.types import Method
from benchmark.validation import validated

KINDS = ("dataset", "objective", "attack", "repair", "detector", "metric")
_PLUGINS: dict[tuple[str, str], type[Method]] = {}  # filled at start-up, by `register`


@lru_cache(maxsize=1)
def _installed() -> dict[tuple[str, str], Any]:
    found: dict[tuple[str, str], Any] = {}
    for kind in (*KINDS, "suite"):
        for point in entry_points(group=f"backstop.{kind}"):
            found[kind, point.name] = point
    return found


def register(cls: type[Method]) -> None:
    """Adds a plugin's method."""
    _PLUGINS[cls.kind, cls.name] = cls


def installed(kind: str, name: str) -> bool:
    """Whether an installed package registers this name."""
    return (kind, name) in _installed()


def shipped(cls: type[Method]) -> bool:
    """Whether this package itself brings the class, and no plugin or other package."""
    return cls.__module__.startswith("benchmark.")


def loaded_source(kind: str, name: str) -> str | None:
    """Hash of the source of a plugin's method; None where no plugin defines it."""
    found = _PLUGINS.get((kind, name))
    return found.plugin_source_hash if found else None


def names(kind: str) -> list[str]:
    """Sorted names registered under a kind ("attack", …, "suite")."""
    return sorted({name for k, name in _installed() if k == kind} | {name for k, name in _PLUGINS if k == kind})


def method(kind: str, name: str) -> type[Method]:
    """Finds a method class by kind and name.

    Raises:
        UnknownNameError: with the closest known names.
    """
    if (kind, name) in _PLUGINS:
        return _PLUGINS[kind, name]
    point = _installed().get((kind, name))
    if point is None:
        raise unknown(kind, name, names(kind))
    return point.load()


def by_class_name(kind: str, name: str) -> str:
    """The registered name of a method given by that name or by its class's name."""
    known = names(kind)
    if name in known:
        return name
    classes = {method(kind, each).__name__: each for each in known}
    if name not in classes:
        raise unknown(kind, name, [*known, *classes])
    return classes[name]


def suite(name: str) -> Callable[[], Any]:
    """Finds a suite's function by name.

    Raises:
        UnknownNameError: with the closest known names.
    """
    point = _installed().get(("suite", name))
    if point is None:
        raise unknown("suite", name, names("suite"))
    return point.load()


def from_dict(kind: str, written: Mapping[str, Any]) -> Method:
    """Rebuilds a method from what `Method.to_dict` wrote.

    Raises:
        UserError: no name or an unknown one, another version or source than is registered, or fields that do not fit.
    """
    if not isinstance(written.get("name"), str):
        raise must(kind, "written with its name", dict(written), 'e.g. {"name": …, "fields": {…}}')
    if "source" in written and (kind, written["name"]) not in _PLUGINS:
        raise must(
            f"{kind} {written['name']}", "loaded from its source", written["source"], "give its file with --plugin"
        )
    return method(kind, written["name"]).from_dict(written)


def read(kind: str, value: object) -> Method:
    """A method in any of its forms: itself, what `to_dict` wrote, or `NAME:FIELD=VALUE,…`.

    Raises:
        UserError: it is none of them, or of another kind.
    """
    if isinstance(value, str):
        return from_text(kind, value)
    if isinstance(value, Mapping):
        return from_dict(kind, cast("Mapping[str, Any]", value))
    if not isinstance(value, Method) or value.kind != kind:
        raise must(kind, "NAME, NAME:FIELD=VALUE,… or {name, fields}", value, f"known: {', '.join(names(kind))}")
    return value


def from_text(kind: str, text: str, *, option: str = "") -> Method:
    """Builds a method from `NAME[:FIELD=VALUE,…]`, where NAME may be the class's name too.

    Args:
        kind: what it must be.
        text: what the user wrote.
        option: what it was written after ("--detector ", "--add attack="); stands in every message.

    Raises:
        UserError: an unknown name or field, or a bad value.
    """
    name, fields = named(text, option)
    name = by_class_name(kind, name)
    return validated(method(kind, name), fields, place=option + name, inline=True)
