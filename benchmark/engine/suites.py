"""A suite as the options of a command say it: its name, then --plugin, --set and --add."""

from __future__ import annotations

import json
import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pyarrow.parquet as pq

from benchmark.bundle.unpack import Shelves, is_unpacked
from benchmark.config import registry
from benchmark.config.notation import assignment
from benchmark.config.overrides import add, override
from benchmark.config.plugins import Plugin, load_files, load_needed
from benchmark.config.spec import Experiment, Suite
from benchmark.config.suite_files import read_document, read_python
from benchmark.engine.published import shelves
from benchmark.errors import UserError, must, unknown
from benchmark.stages.keys import keys_of
from benchmark.stages.once import Once
from benchmark.store.artifacts import Store, open_store
from tuners import search_space
from tuners.rounds import grid_points

_NAMED = {"defended_attacks": "attack", "defended_objectives": "objective"}  # fields that name methods; else repairs
PUBLISHED = "published"  # of --from
_KEY = re.compile("[0-9a-f]{4,32}")


class Resolved(NamedTuple):
    """A suite after --plugin, --set and --add."""

    suite: Suite
    plugins: tuple[Plugin, ...]
    command: str  # as a shell takes it


def store_at(path: str | None, behind: Sequence[str] | None = None) -> Store:
    """The store that a command works on."""
    return open_store(path, read_only=tuple(behind or ()))


def store_of(path: str | None, behind: Sequence[str] | None, suite: str | None, *, outcomes: bool = False) -> Store:
    """The same, with what is published with a suite behind it: what it has a record of is done.

    Args:
        path: of --store.
        behind: of --from; `published` stands for the suite's published models.
        suite: its name, as it was given.
        outcomes: what the published numbers come from, too; for what only looks, since a run that makes a model again
            is to measure that one.

    Raises:
        UserError: `published` is asked for, and no models are published with the suite.
    """
    published = shelves(suite)
    named = [_models(published, suite) if url == PUBLISHED else url for url in behind or ()]
    there = () if published is None else (published.records, *([published.outcomes] if outcomes else []))
    return store_at(path, (*named, *there))


def _models(published: Shelves | None, suite: str | None) -> str:
    if published is None or not Path(published.models, "pretrain").is_dir():
        raise must("--from published", "given with a suite whose models are published", suite, "drop it")
    return published.models


def options_of(store: Store) -> str:
    """The options under which a command finds this store, as a shell takes them."""
    named = [PUBLISHED if Path(url).name == "models" and is_unpacked(url) else url for url in store.behind]
    named = [url for url in named if url == PUBLISHED or not is_unpacked(url)]
    return shlex.join(["--store", store.root, *(word for url in named for word in ("--from", url))])


def resolve_at(
    path: str | None, behind: Sequence[str] | None, name: str, *options: Sequence[str] | None, trusted: bool
) -> tuple[Resolved, Store]:
    """What --store and --from name, and the suite as `resolve` builds it there from a command's further options."""
    store = store_of(path, behind, name)
    return resolve(name, *options, store=store, trusted=trusted), store


def resolve(
    name: str,
    assignments: Sequence[str] | None = None,
    plugins: Sequence[str] | None = None,
    additions: Sequence[str] | None = None,
    *,
    store: Store | None = None,
    trusted: bool = False,
) -> Resolved:
    """Builds a suite from its name and the command's options: what --set gives first, then what --add adds to it.

    Args:
        name: of a registered suite, of a file (`.json`, `.py`), or the key of a record.
        assignments: of --set.
        plugins: of --plugin.
        additions: of --add.
        store: where records, and the sources of plugins, lie.
        trusted: the store's copies of plugins may be run.

    Raises:
        UserError: anything unknown, malformed or out of range.
    """
    assignments, plugins, additions = assignments or (), plugins or (), additions or ()
    loaded = load_files(plugins)
    pairs = dict(assignment(text, "--set", example="pretrain.epochs=3") for text in assignments)
    found, more = _open(name, store or store_at(None), trusted=trusted)
    suite = override(found, pairs)
    for text in additions:
        suite = add(suite, text)
    _check_names(suite)
    _check_searches(suite)
    options = {"--plugin": plugins, "--set": assignments, "--add": additions}
    words = [word for option, texts in options.items() for text in texts for word in (option, text)]
    return Resolved(suite, (*loaded, *more), shlex.join(["backstop", "run", name, *words]))


def _check_names(suite: Suite) -> None:
    """Refuses names that no method has. One that only this suite lacks stays: `--set repairs=[]` is meant."""
    for grid in suite.grids:
        named = {"searched": grid.searched, "spaces": suite.spaces}
        named |= {"defended_attacks": grid.defended_attacks, "defended_objectives": grid.defended_objectives}
        for field, names in named.items():
            kind = _NAMED.get(field, "repair")
            known = {*registry.names(kind), *(method.name for method in suite.methods(kind))}
            for name in sorted(set(names or ()) - known):
                raise UserError(f"suite {suite.name}.{field}: {unknown(kind, name, known)}")


def _check_searches(suite: Suite) -> None:
    """Refuses a search over nothing, or over what is no field of the repair."""
    searched = {repair.label: repair for grid in suite.grids for repair in grid.repairs if repair.name in grid.searched}
    for repair in searched.values():
        space = search_space.ranges(repair, suite.spaces.get(repair.name))
        if not space:
            remedy = "give `spaces` in the suite, or leave it out of `searched`"
            raise must(f"search of {repair.name}", "over at least one range", {}, remedy)
        if suite.search.grid:
            grid_points(space)


def stored_name(name: str) -> str:
    """The name under which a store knows a suite: that in the file, where a file is named."""
    if name.endswith(".json"):
        return str(read_document(name).get("name", name))
    return read_python(name)[0].name if name.endswith(".py") else name


def _open(name: str, store: Store, *, trusted: bool) -> tuple[Suite, tuple[Plugin, ...]]:
    """A suite, and the plugins that came with it."""
    if name.endswith(".py"):
        suite, plugin = read_python(name)
        return suite, (plugin,)
    if name.endswith(".json"):
        written = read_document(name)
        plugins = load_needed(written, store, trusted=trusted)
        return Suite.from_dict(written, place=f"suite {name}"), plugins
    if _KEY.fullmatch(name) and name not in registry.names("suite"):
        return _of_record(name, store, trusted=trusted)
    return registry.suite(name)(), ()


def _of_record(prefix: str, store: Store, *, trusted: bool) -> tuple[Suite, tuple[Plugin, ...]]:
    """The cell of a record, rebuilt from the record alone, as the smallest suite that holds it."""
    key = _record_key(prefix, store)
    found = store.find("record", key)
    if found is None:
        raise UserError(f"record {key} must be whole, got a damaged one in store {store.root}; run its suite again")
    row = pq.read_table(found.path("records.parquet"), columns=["suite", "specification"]).slice(0, 1).to_pylist()[0]
    written = json.loads(row["specification"])
    plugins = load_needed(written, store, trusted=trusted)
    experiment = Experiment.from_dict(written, place=f"record {key[:8]}")
    _check_key(experiment, key)
    return experiment.suite(f"{row['suite']}-{key[:8]}", f"One cell of {row['suite']}"), plugins


def _record_key(prefix: str, store: Store) -> str:
    keys = [key for key in store.keys("record") if key.startswith(prefix)]
    if len(keys) != 1:
        told = f"{len(keys)} begin so: give more digits" if keys else "none begins so: see `backstop status --json`"
        raise must("record", f"the key of one in store {store.root}", prefix, told)
    return keys[0]


def _check_key(experiment: Experiment, key: str) -> None:
    """Refuses to call a cell the same where data or code would make another record of it."""
    try:
        own = keys_of(experiment, Once()).record
    except UserError as error:  # its data is not here: the specification is all that can be shown
        print(f"backstop: the key of record {key[:8]} was not checked: {error}", file=sys.stderr)
        return
    if own != key:
        remedy = "its data or the code that made it has changed: run its suite again"
        raise must(f"record {key}", "rebuilt under its own key", own, remedy)
