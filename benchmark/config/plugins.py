"""Single-file plugins: they travel by value, and their source's hash is part of what their methods are.

A store keeps the source of what was run in it (`plugins/<hash>.py`), so that a record can be rebuilt. It is code, and a
store may be a stranger's: it is run only for a user who says so.
"""

from __future__ import annotations

import hashlib
import re
import sys
import traceback
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple, TypeVar, cast

from pydantic import ValidationError

from benchmark.config import registry
from benchmark.errors import CRASHES, UserError, must, reason_of
from benchmark.store.artifacts import Store
from benchmark.types.base import Card, Method, Part
from benchmark.validation import one_line

Base = TypeVar("Base")
PLAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")  # written in `NAME:FIELD=VALUE,…`, and on pages
_PREFIX = "backstop_plugin_"  # of the names of their modules


class Plugin(NamedTuple):
    """A single-file plugin as it travels: by value, so that workers need no copy of the file."""

    name: str  # stem of the file
    source: str

    @property
    def hash(self) -> str:
        """Names the source: the first 16 hex digits of its sha256."""
        return hashlib.sha256(self.source.encode()).hexdigest()[:16]


def read_plugin(path: str | Path) -> Plugin:
    """Reads a plugin's source.

    Raises:
        UserError: if there is no such Python file.
    """
    file = Path(path)
    if not file.is_file() or file.suffix != ".py":
        raise UserError(f"--plugin {str(path)!r} must be a Python file, got none there; give the path of one")
    return Plugin(file.stem, read_source(file))


def read_source(file: Path) -> str:
    """The text of a file.

    Raises:
        UserError: it is not UTF-8.
    """
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise must(str(file), "UTF-8 text", error.reason, "save it so") from None


def load_files(paths: Iterable[str | Path]) -> tuple[Plugin, ...]:
    """Reads and loads the files that --plugin names.

    Raises:
        UserError: as `read_plugin` and `load_plugin`, or two files that define the same method.
    """
    found = tuple(read_plugin(path) for path in paths)
    owners: dict[tuple[str, str], Plugin] = {}
    for plugin in found:
        for cls in load_plugin(plugin):
            other = owners.setdefault((cls.kind, cls.name), plugin)
            if other != plugin:
                raise UserError(f"{cls.kind} {cls.name} must be defined once, got {other.name}.py and {plugin.name}.py")
    return found


def load_plugin(plugin: Plugin) -> list[type[Method]]:
    """Registers the methods that a plugin defines; the source's hash enters their content keys.

    Raises:
        UserError: if the source does not run, defines no method, stage or suite, or a method that cannot stand.
    """
    module = load_module(plugin)
    found = defined_in(plugin, Method)
    if not found and not defined_in(plugin, Part) and not defines_suite(module):
        raise UserError(f"plugin {plugin.name}.py: defines no method; subclass Repair, Attack, … and set `name`")
    for cls in found:
        _check(cls, f"plugin {plugin.name}.py")
    for cls in found:
        cls.plugin_source_hash = plugin.hash
        registry.register(cls)
    return found


def load_module(plugin: Plugin) -> ModuleType:
    """Runs a plugin's source, once in a process.

    Raises:
        UserError: it does not run.
    """
    name = f"{_PREFIX}{plugin.name}_{plugin.hash[:8]}"
    if name in sys.modules:
        return sys.modules[name]
    module = sys.modules[name] = ModuleType(name)
    try:
        exec(compile(plugin.source, f"{plugin.name}.py", "exec"), module.__dict__)
    except CRASHES as error:
        del sys.modules[name]
        raise _broken(f"plugin {plugin.name}.py", error) from error
    return module


def _broken(place: str, error: BaseException) -> UserError:
    """The one line for code of a plugin that does not run."""
    if isinstance(error, ValidationError):
        return UserError(one_line(error, f"{place}: {error.title}", remedy="mend the file"))
    return UserError(f"{place}: {reason_of(error)}; mend the file")


def is_plugin(module: str) -> bool:
    """Whether a module of this name is a plugin that was loaded."""
    return module.startswith(_PREFIX)


def fault_of(error: BaseException) -> str | None:
    """The one line for what code of a plugin raised or let through; None where none took part."""
    frames = [
        (frame, line)
        for frame, line in traceback.walk_tb(error.__traceback__)
        if is_plugin(str(frame.f_globals.get("__name__", "")))
    ]
    if not frames:
        return None
    code, line = frames[-1][0].f_code, frames[-1][1]
    return f"plugin {code.co_filename}: {reason_of(error)} (line {line}, in {code.co_name}); mend the file"


def file_of(method: Method) -> str | None:
    """The file that defines a method of the user's own; None where an installed package registers it.

    Raises:
        UserError: it was not defined in a file.
    """
    cls = type(method)
    if registry.installed(cls.kind, cls.name) and registry.method(cls.kind, cls.name) is cls:
        return None
    file = getattr(sys.modules.get(cls.__module__), "__file__", None)
    if not file:
        raise UserError(
            f"{cls.__name__} must be defined in a file, which workers can run, got an interactive session; "
            "save it as a file and import it from there"
        )
    return str(file)


def defined_in(plugin: Plugin, base: type[Base]) -> list[type[Base]]:
    """The subclasses of `base` with a `name` that a loaded plugin defines, in the file's order."""
    module = load_module(plugin)
    return [
        value
        for value in vars(module).values()
        if isinstance(value, type)
        and issubclass(value, base)
        and value.__module__ == module.__name__
        and getattr(value, "name", "")
    ]


def defines_suite(module: ModuleType) -> bool:
    """Whether a module has a function `suite` or a value `SUITE`."""
    return callable(getattr(module, "suite", None)) or hasattr(module, "SUITE")


def _check(cls: type[Method], place: str) -> None:
    """Refuses a built-in's name, which would stand for something else, and what is no method with its defaults."""
    if not PLAIN_NAME.fullmatch(cls.name):
        raise must(f"{place}: name", "letters, digits, '-', '_' and '.'", cls.name, "choose another")
    if not isinstance(getattr(cls, "card", None), Card):
        raise must(f"{place}: {cls.__name__}.card", "a Card", getattr(cls, "card", None), "add one")
    if registry.installed(cls.kind, cls.name):
        raise must(f"{place}: name", "its own", cls.name, f"an installed {cls.kind} has this name: choose another")
    fields = cls.model_fields.items()
    given = {name: field.get_default(call_default_factory=True) for name, field in fields if not field.is_required()}
    try:
        cls.model_validate(given)
    except ValidationError as error:
        if any(each["type"] != "missing" for each in error.errors()):
            raise UserError(one_line(error, f"{place}: {cls.__name__}", remedy="mend the default")) from None
    except CRASHES as error:
        raise _broken(f"{place}: {cls.__name__}", error) from error


def keep_sources(store: Store, plugins: Iterable[Plugin]) -> None:
    """Writes the plugins' sources into the store, each once."""
    for plugin in plugins:
        if store.read_text(_place(plugin.hash)) is None:
            store.write_text(_place(plugin.hash), plugin.source)


def load_needed(written: Any, store: Store, *, trusted: bool) -> tuple[Plugin, ...]:
    """Loads the plugins whose methods a specification names and nobody has loaded, from the store's copies.

    Args:
        written: a suite or an experiment on paper.
        store: where copies may lie.
        trusted: the user wants the code of the store's copies to be run.

    Raises:
        UserError: a plugin is missing and not trusted, has no copy, or a copy that is not what its name says.
    """
    found: dict[str, Plugin] = {}
    for kind, name, tag in _sources(written):
        if tag in found or registry.loaded_source(kind, name) == tag:
            continue
        source = store.read_text(_place(tag))
        what = f"{kind} {name} must be loaded from its source {tag}"
        if source is None:
            raise UserError(f"{what}, got none; give its file with --plugin: store {store.root} has no copy")
        if not trusted:
            raise UserError(
                f"{what}, got none; give its file with --plugin, or look at {_place(tag)} in store {store.root}, "
                "which is code, and have it run with --trust-plugins"
            )
        found[tag] = plugin = Plugin(tag, source)
        if plugin.hash != tag:
            raise UserError(f"{what}, got a copy in store {store.root} of another content; give its file with --plugin")
        load_plugin(plugin)
    return tuple(found.values())


def _sources(written: Any) -> Iterator[tuple[str, str, str]]:
    """Kind, name and source of every plugin's method in a specification."""
    inner: list[Any] = []
    if isinstance(written, dict):
        named = cast("dict[str, Any]", written)
        if {"kind", "name", "source"} <= named.keys():
            yield str(named["kind"]), str(named["name"]), str(named["source"])
        inner = list(named.values())
    elif isinstance(written, list):
        inner = cast("list[Any]", written)
    for value in inner:
        yield from _sources(value)


def copies_named(written: Any) -> list[str]:
    """Where a store has the copies of the plugins that a suite or an experiment on paper names."""
    return [_place(tag) for tag in dict.fromkeys(tag for _, _, tag in _sources(written))]


def _place(tag: str) -> str:
    return f"plugins/{tag}.py"
