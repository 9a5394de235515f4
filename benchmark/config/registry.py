"""Names to methods and suites: entry points of installed packages, and single-file plugins."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable
from functools import lru_cache
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from benchmark.errors import UserError, unknown
from benchmark.types import Method

KINDS = ("dataset", "objective", "attack", "repair", "detector", "metric")
_PLUGINS: dict[tuple[str, str], type[Method]] = {}  # filled once at start-up by `load_plugin`


@lru_cache(maxsize=1)
def _installed() -> dict[tuple[str, str], Any]:
    found = {}
    for kind in (*KINDS, "suite"):
        for point in entry_points(group=f"backstop.{kind}"):
            found[kind, point.name] = point
    return found


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


class Plugin(NamedTuple):
    """A single-file plugin as it travels: by value, so that workers need no copy of the file."""

    name: str  # stem of the file
    source: str


def read_plugin(path: str | Path) -> Plugin:
    """Reads a plugin's source.

    Raises:
        UserError: if there is no such Python file.
    """
    file = Path(path)
    if not file.is_file() or file.suffix != ".py":
        raise UserError(f"--plugin {str(path)!r} must be a Python file, got none there; give the path of one")
    return Plugin(file.stem, file.read_text())


def load_plugin(plugin: Plugin) -> list[type[Method]]:
    """Registers the methods that a plugin defines; the source's hash enters their content keys.

    Raises:
        UserError: if the source does not run, or defines no method.
    """
    tag = hashlib.sha256(plugin.source.encode()).hexdigest()[:16]
    module_name = f"backstop_plugin_{plugin.name}_{tag[:8]}"
    module = sys.modules.get(module_name)
    if module is None:
        module = ModuleType(module_name)
        sys.modules[module_name] = module
        try:
            exec(compile(plugin.source, f"{plugin.name}.py", "exec"), module.__dict__)
        except Exception as error:
            del sys.modules[module_name]
            raise UserError(f"plugin {plugin.name}.py: {type(error).__name__}: {error}; mend the file") from error
    found = [
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Method) and value.__module__ == module_name and value.name
    ]
    if not found:
        raise UserError(f"plugin {plugin.name}.py: defines no method; subclass Repair, Attack, … and set `name`")
    for cls in found:
        cls.plugin_source_hash = tag
        _PLUGINS[cls.kind, cls.name] = cls
    return found


def build(kind: str, name: str, fields: dict[str, Any]) -> Method:
    """Builds a method from its name and fields, with one-line errors for unknown or bad fields."""
    from benchmark.config.spec import validated

    return validated(method(kind, name), fields, place=f"{kind} {name}")
