"""What the commands do. This file and `runner.py` are where all packages meet."""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from benchmark.config import registry
from benchmark.config.registry import Plugin
from benchmark.config.spec import ComputeOptions, Grid, Suite, override
from benchmark.engine import plan as planning
from benchmark.engine.monitor import Monitor, clock
from benchmark.errors import UserError, unknown
from benchmark.stages import graph
from benchmark.stages.graph import Cell
from benchmark.store.artifacts import Store, open_store
from benchmark.types import Method

ALIASES = {"defense": "repair", "defence": "repair"}
STAGES = {"pretrain": "pre-train", "defend": "repair at defaults", "trials": "search trials", "record": "records"}
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


# --- looking ---------------------------------------------------------------------------------------------------


def list_all(plugins: Sequence[str] | None, *, as_json: bool) -> None:
    """Prints suites, and methods with their cards."""
    for path in plugins or ():
        registry.load_plugin(registry.read_plugin(path))
    suites = {name: registry.suite(name)().title for name in registry.names("suite")}
    methods = {
        kind: {name: _card(registry.method(kind, name)) for name in registry.names(kind)} for kind in registry.KINDS
    }
    if as_json:
        print(json.dumps({"suites": suites, "methods": methods}, indent=1))
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


def plan(resolved: Resolved, store: Store, *, as_json: bool) -> None:
    """Prints what a run would do."""
    cells = graph.cells(resolved.suite)
    stages = planning.plan(store, cells)
    left, disk = len(planning.todo(store, cells)), planning.disk_estimate(store, cells)
    seconds = [stage.seconds for stage in stages]
    known = None if None in seconds else sum(value or 0 for value in seconds)
    if as_json:
        facts = {"suite": resolved.suite.name, "cells": len(cells), "to_do": left, "disk_bytes": disk, "seconds": known}
        print(json.dumps(facts | {"stages": [stage._asdict() for stage in stages]}, indent=1))
        return
    console = Console(highlight=False)
    console.print(f"[bold]{resolved.suite.name}[/bold]: {len(cells)} cells, {len(cells) - left} done, {left} to do\n")
    table = Table(box=None, pad_edge=False)
    table.add_column("stage", style="bold")
    for head in ("all", "in the store", "to make", "time on one slot"):
        table.add_column(head, justify="right")
    for stage in stages:
        missing = stage.total - stage.found
        time_left = "" if not missing or stage.seconds == 0 else _time(stage.seconds)
        table.add_row(STAGES.get(stage.stage, stage.stage), str(stage.total), str(stage.found), str(missing), time_left)
    console.print(table)
    told = "not known: this store has no past record to go by" if known is None else f"{_time(known)} on one slot"
    facts = Table.grid(padding=(0, 2, 0, 0))
    facts.add_row("\ntime", f"\n{told if left else 'none'}", style="")
    facts.add_row("disk", f"about {disk / 1e6:,.0f} MB more under {store.root}" if disk else "no more")
    console.print(facts)


def _time(seconds: float | None) -> str:
    if seconds is None:
        return "not known"
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def status(name: str, store: Store, *, as_json: bool) -> None:
    """Prints the status of every cell of a suite, as the store's last run wrote it down."""
    document = store.read_json(f"suites/{name}.json")
    if document is None:
        known = [path.removeprefix("suites/").removesuffix(".json") for path in store.list_json("suites")]
        told = unknown("suite", name, known) if known else f"unknown suite {name!r}; none was run in it yet"
        raise UserError(f"store {store.root}: {told}{'' if known else f'; run it first with `backstop run {name}`'}")
    rows = []
    for cell in document["cells"]:
        found = store.find("record", cell["record"])
        statuses = found.facts["statuses"] if found else {"": "missing"}
        rows += [cell | {"selection": selection, "status": value} for selection, value in statuses.items()]
    if as_json:
        print(json.dumps({"suite": name, "cells": rows}, indent=1))
        return
    several = len({cell["seed"] for cell in document["cells"]}) > 1
    axes = ("objective", "attack", "defense", *(["seed"] if several else []))
    for cell in (*document["cells"], *rows):
        named = [cell[kind] for kind in ("repair", "detector") if cell.get(kind, "none") != "none"]
        cell["defense"] = named[0] if named else "none"
    shown = {axis: _shortest([str(cell[axis]) for cell in document["cells"]]) for axis in axes}
    table = Table(box=None, pad_edge=False)
    for head in (*axes, "status"):
        table.add_column(head, overflow="fold")
    for _, group in groupby(rows, key=lambda row: row["record"]):
        mine = list(group)
        table.add_row(*(shown[axis][str(mine[0][axis])] for axis in axes), _statuses(mine))
    console = Console()
    console.print(table)
    counts = Counter(row["status"].replace("_", " ") for row in rows)
    told = ", ".join(f"{number} {value}" for value, number in counts.most_common())
    console.print(f"\n{len(document['cells'])} cells; by selection rule: {told}", highlight=False)


def _shortest(labels: Sequence[str]) -> dict[str, str]:
    """Labels without their fields, where that leaves them apart."""
    bare = {label: label.partition("(")[0] for label in labels}
    return {label: name if list(bare.values()).count(name) == 1 else label for label, name in bare.items()}


def _statuses(rows: Sequence[Mapping[str, Any]]) -> Text:
    """One cell's statuses; the rules are named where there is more than one."""
    colours = {"ok": "green", "missing": "dim"}
    told = Text()
    for status in dict.fromkeys(row["status"] for row in rows):
        rules = ", ".join(row["selection"].replace("_", " ") for row in rows if row["status"] == status)
        told.append("; " if told else "")
        told.append(status.replace("_", " "), colours.get(status, "yellow"))
        told.append(f" ({rules})" if len(rows) > 1 else "", "dim")
    return told


# --- doing -----------------------------------------------------------------------------------------------------


def run(
    resolved: Resolved, store: Store, resources: ComputeOptions, *, local: bool, quiet: bool, as_json: bool
) -> None:
    """Makes every record of a suite that is missing, and says what there is."""
    began = time.monotonic()
    suite = resolved.suite
    cells = graph.cells(suite)
    if planning.todo(store, cells):
        _check_before(suite, resources)
        _drive(resolved, store, cells, resources, local=local, quiet=quiet)
    else:
        before = store.read_json(f"suites/{suite.name}.json") or {}
        planning.write_suite(store, suite, cells, command=resolved.command, environment=before.get("environment", {}))
    _summary(suite, store, cells, time.monotonic() - began, as_json=as_json)


def _check_before(suite: Suite, resources: ComputeOptions) -> None:
    """What can be refused before any compute is asked for."""
    for batch_size in (grid.pretrain.batch_size for grid in suite.grids):
        if batch_size % resources.workers:
            raise UserError(
                f"--workers must divide pretrain.batch_size {batch_size}, got {resources.workers}; change one of them"
            )


def _drive(
    resolved: Resolved, store: Store, cells: list[Cell], resources: ComputeOptions, *, local: bool, quiet: bool
) -> None:
    from benchmark.engine.driver import SuiteRun
    from benchmark.engine.local import LocalExecutor
    from benchmark.stages.common import Compute

    with Monitor(quiet=quiet) as monitor:
        if local:
            import torch

            compute = Compute("cuda" if torch.cuda.is_available() else "cpu", resources.micro_batch)
            executor = LocalExecutor(store, monitor, compute)
            close = None
        else:
            from benchmark.engine.ray_pool import RayExecutor

            monitor.say("starting Ray and its workers …")
            executor = RayExecutor(store, monitor, resources, resolved.plugins)
            close = executor.close
        try:
            run_ = SuiteRun(store, resolved.suite, cells, executor, monitor)
            planning.write_suite(
                store, resolved.suite, cells, command=resolved.command, environment=executor.environment()
            )
            run_.run()
        finally:
            if close:
                close()


def _summary(suite: Suite, store: Store, cells: list[Cell], seconds: float, *, as_json: bool) -> None:
    found = [store.find("record", cell.keys.record) for cell in cells]
    statuses = [value for item in found if item for value in item.facts["statuses"].values()]
    counts = {value: statuses.count(value) for value in sorted(set(statuses))}
    if as_json:
        print(json.dumps({"suite": suite.name, "cells": len(cells), "statuses": counts, "seconds": round(seconds, 1)}))
        return
    told = ", ".join(f"{count} {value.replace('_', ' ')}" for value, count in counts.items())
    print(f"{suite.name}: {len(cells)} cells, {len(statuses)} records ({told}) in {clock(seconds)}, store {store.root}")
    logs = store.local_root / "logs" if store.local_root else None
    if counts.get("failed") and logs and logs.exists():
        print(f"logs of what failed: {logs}")
    print(f"to see them: backstop board {suite.name} --store {store.root}")


def check(file: str, *, as_json: bool) -> int:
    """Runs the contract tests on a file's methods; 0 where all passed, else 1."""
    from benchmark.testing.check import check_method

    failed = 0
    report: dict[str, list[dict[str, Any]]] = {}
    for cls in registry.load_plugin(registry.read_plugin(file)):
        if not as_json:
            print(f"{cls.kind} {cls.name}")
        for result in check_method(cls):
            failed += not result.ok
            report.setdefault(cls.name, []).append(result._asdict())
            if not as_json:
                print(
                    f"  {'ok  ' if result.ok else 'FAIL'}  {result.name}{': ' + result.detail if result.detail else ''}"
                )
    if as_json:
        print(json.dumps(report, indent=1))
    else:
        print("all contracts hold" if not failed else f"{failed} contract(s) broken")
    return 1 if failed else 0


def board(name: str | None, out: str | None, store: Store) -> None:
    """Writes the board of one suite, or of every suite in the store."""
    from reports.board import suites_in, write_board

    names = [name] if name else suites_in(store)
    if not names:
        raise UserError(f"store {store.root}: there must be a suite to show, got none; run one with `backstop run`")
    root = Path(out) if out else (store.local_root or Path()) / "board"
    for each in names:
        folder = root / each if len(names) > 1 or not out else root
        print(f"board:   {write_board(store, each, folder).resolve()}   (open it in a browser)")
        print(f"figures: {(folder / 'figures').resolve()}")
        print(f"records: {(folder / 'records.csv').resolve()}, and in the store {store.root}")


def doctor(path: str | None, *, as_json: bool) -> int:
    """Prints what a run would meet on this machine; 0 where nothing needed is missing."""
    from benchmark.cli.doctor import diagnose

    found = diagnose(path)
    if as_json:
        print(json.dumps([item._asdict() for item in found], indent=1))
    else:
        marks = {"ok": ("ok", "green"), "note": ("note", "cyan"), "bad": ("BAD", "bold red")}
        table = Table.grid(padding=(0, 2, 0, 0))
        for item in found:
            table.add_row(Text(*marks[item.level]), Text(item.what, "bold"), Text(item.told, overflow="fold"))
        Console().print(table)
        bad = sum(item.level == "bad" for item in found)
        print(f"\n{bad} to mend" if bad else "\nnothing is missing")
    sys.stdout.flush()
    return 1 if any(item.level == "bad" for item in found) else 0
