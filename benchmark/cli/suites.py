"""A suite as the options of a command say it: its name, then --plugin, --set and --add."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from benchmark.config import registry
from benchmark.config.notation import assignment
from benchmark.config.overrides import add, override
from benchmark.config.plugins import Plugin, load_files
from benchmark.config.spec import Suite
from benchmark.store.artifacts import Store, open_store


class Resolved(NamedTuple):
    """A suite after --plugin, --set and --add."""

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
    """Builds a suite from its name and the command's options: what --set gives first, then what --add adds to it.

    Raises:
        UserError: anything unknown, malformed or out of range.
    """
    assignments, plugins, additions = assignments or (), plugins or (), additions or ()
    loaded = load_files(plugins)
    pairs = dict(assignment(text, "--set", example="pretrain.epochs=3") for text in assignments)
    suite = override(registry.suite(name)(), pairs)
    for text in additions:
        suite = add(suite, text)
    options = {"--plugin": plugins, "--set": assignments, "--add": additions}
    words = [f"{option} {text}" for option, texts in options.items() for text in texts]
    return Resolved(suite, loaded, " ".join(["backstop run", name, *words]))
