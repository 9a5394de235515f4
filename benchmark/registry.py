"""Names to methods and suites: entry points of installed packages, and single-file plugins."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from collections.abc import Callable
from functools import lru_cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from benchmark.errors import UserError, unknown
from benchmark.types import Method

KINDS = ("dataset", "objective", "attack", "repair", "metric")
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


def suite(name: str) -> Callable[[], Any]:
    """Finds a suite's function by name.

    Raises:
        UnknownNameError: with the closest known names.
    """
    point = _installed().get(("suite", name))
    if point is None:
        raise unknown("suite", name, names("suite"))
    return point.load()


def load_plugin(path: str | Path) -> list[type[Method]]:
    """Loads the methods that a single file defines and registers them; the source's hash enters their keys.

    Raises:
        UserError: if the file is missing, does not import, or defines no method.
    """
    file = Path(path)
    if not file.is_file():
        raise UserError(f"--plugin {str(path)!r}: no such file; give the path of a Python file")
    source = file.read_bytes()
    tag = hashlib.sha256(source).hexdigest()[:16]
    module_name = f"backstop_plugin_{file.stem}_{tag[:8]}"
    module = sys.modules.get(module_name)
    if module is None:
        spec = importlib.util.spec_from_file_location(module_name, file)
        if spec is None or spec.loader is None:
            raise UserError(f"--plugin {str(path)!r}: not a Python file; give a file that ends in .py")
        module = importlib.util.module_from_spec(spec)
        sys.modules[module_name] = module
        try:
            spec.loader.exec_module(module)
        except Exception as error:
            del sys.modules[module_name]
            raise UserError(f"--plugin {str(path)!r}: {type(error).__name__}: {error}; mend the file") from error
    found = [
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Method) and value.__module__ == module_name and value.name
    ]
    if not found:
        raise UserError(f"--plugin {str(path)!r}: defines no method; subclass Repair, Attack, … and set `name`")
    for cls in found:
        cls.plugin_source_hash = tag  # type: ignore[attr-defined]
        _PLUGINS[cls.kind, cls.name] = cls
    return found


def build(kind: str, name: str, fields: dict[str, Any]) -> Method:
    """Builds a method from its name and fields, with one-line errors for unknown or bad fields."""
    from benchmark.spec import validated

    return validated(method(kind, name), fields, place=f"{kind} {name}")
