"""Single-file plugins: they travel by value, and their source's hash is part of what their methods are."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from benchmark.config import registry
from benchmark.errors import UserError
from benchmark.types import Method


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


def load_files(paths: Iterable[str | Path]) -> tuple[Plugin, ...]:
    """Reads and loads the files that --plugin names.

    Raises:
        UserError: as `read_plugin` and `load_plugin`.
    """
    found = tuple(read_plugin(path) for path in paths)
    for plugin in found:
        load_plugin(plugin)
    return found


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
        registry.register(cls)
    return found
