"""What the commands do. This file and `runner.py` are where all packages meet."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from benchmark import graph, planning, registry
from benchmark.errors import UserError, unknown
from benchmark.graph import Cell
from benchmark.registry import Plugin
from benchmark.spec import Resources, Suite, override
from benchmark.store import Store, open_store

ALIASES = {"defense": "repair", "defence": "repair"}
GRID = {"attack": "attacks", "repair": "repairs", "objective": "objectives"}


class Resolved(NamedTuple):
    """A suite after --plugin, --add and --set."""

    suite: Suite
    plugins: tuple[Plugin, ...]
    command: str


def store_at(path: str | None, behind: Sequence[str] | None = None) -> Store:
    """The store that a command works on."""
    return open_store(path, read_only=tuple(behind or ()))


def resolve(name: str, assignments: Sequence[str], plugins: Sequence[str], additions: Sequence[str]) -> Resolved:
    """Builds a suite from its name and the command's options.

    Raises:
        UserError: anything unknown, malformed or out of range.
    """
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


def list_all(plugins: Sequence[str], *, as_json: bool) -> None:
    """Prints suites, and methods with their cards."""
    for path in plugins:
        registry.load_plugin(registry.read_plugin(path))
    suites = {name: registry.suite(name)().title for name in registry.names("suite")}
    methods = {
        kind: {name: _card(registry.method(kind, name)) for name in registry.names(kind)} for kind in registry.KINDS
    }
    if as_json:
        print(json.dumps({"suites": suites, "methods": methods}, indent=1))
        return
    console = Console()
    table = Table(title="Suites", title_justify="left", box=None, pad_edge=False)
    for head in ("name", "what it is"):
        table.add_column(head, style="bold" if head == "name" else "")
    for name, title in suites.items():
        table.add_row(name, title)
    console.print(table)
    for kind, found in methods.items():
        table = Table(title=f"\n{kind.capitalize()}s", title_justify="left", box=None, pad_edge=False)
        for head in ("name", "access", "needs", "what it does"):
            table.add_column(head, style="bold" if head == "name" else "", no_wrap=head == "name")
        for name, card in found.items():
            needs = ", ".join(card["needs"]) or "–"
            table.add_row(name, card["access"], needs, f"{card['summary']} [dim]{escape(card['citation'])}[/dim]")
        console.print(table)


def _card(cls: Any) -> dict[str, Any]:
    return cls.card.model_dump(mode="json") | {"needs": sorted(cls.card.needs), "fields": sorted(cls.model_fields)}


def show(resolved: Resolved) -> None:
    """Prints a suite in full, with the names of its methods."""
    suite = resolved.suite
    dump = suite.model_dump(mode="json")
    for field in ("objectives", "attacks", "repairs"):
        dump[field] = [
            {"name": m.name, "version": m.version} | m.model_dump(mode="json") for m in getattr(suite, field)
        ]
    for field in ("data", "evaluation"):
        method = getattr(suite, field)
        dump[field] = method and {"name": method.name, "version": method.version} | method.model_dump(mode="json")
    dump["searched"] = sorted(suite.searched)
    print(json.dumps(dump, indent=2))


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
    console = Console()
    console.print(f"[bold]{resolved.suite.name}[/bold]: {len(cells)} cells, {len(cells) - left} done, {left} to do")
    table = Table(box=None, pad_edge=False)
    table.add_column("stage", style="bold")
    for head in ("all", "found", "to make", "time on one slot"):
        table.add_column(head, justify="right")
    for stage in stages:
        missing = stage.total - stage.found
        time_left = "–" if not missing or stage.seconds == 0 else _time(stage.seconds)
        table.add_row(stage.stage, str(stage.total), str(stage.found), str(missing), time_left)
    console.print(table)
    told = "no past record in this store to estimate from" if known is None else f"{_time(known)} on one slot"
    console.print(f"time: {told}   disk: about {disk / 1e6:,.0f} MB more in {store.root}")


def _time(seconds: float | None) -> str:
    if seconds is None:
        return "?"
    return (
        f"{seconds:.0f} s"
        if seconds < 120
        else f"{seconds / 60:.0f} min"
        if seconds < 7200
        else f"{seconds / 3600:.1f} h"
    )


def status(name: str, store: Store, *, as_json: bool) -> None:
    """Prints the status of every cell of a suite, as the store's last run wrote it down."""
    document = store.read_json(f"suites/{name}.json")
    if document is None:
        known = [path.removeprefix("suites/").removesuffix(".json") for path in store.list_json("suites")]
        raise UserError(f"store {store.root}: {unknown('suite', name, known)} run it first with `backstop run`")
    rows = []
    for cell in document["cells"]:
        found = store.find("record", cell["record"])
        statuses = found.facts["statuses"] if found else {"": "missing"}
        rows += [cell | {"selection": selection, "status": value} for selection, value in statuses.items()]
    if as_json:
        print(json.dumps({"suite": name, "cells": rows}, indent=1))
        return
    table = Table(box=None, pad_edge=False)
    axes = ("objective", "attack", "repair", "seed", "selection", "status")
    for head in axes:
        table.add_column(head)
    colours = {"ok": "green", "missing": "dim"}
    for row in rows:
        colour = colours.get(row["status"], "yellow")
        table.add_row(*(str(row[axis]) for axis in axes[:-1]), f"[{colour}]{row['status']}[/{colour}]")
    console = Console()
    console.print(table)
    counts = {value: sum(row["status"] == value for row in rows) for value in {row["status"] for row in rows}}
    console.print("  ".join(f"{value}: {count}" for value, count in sorted(counts.items())))


# --- doing -----------------------------------------------------------------------------------------------------


def run(resolved: Resolved, store: Store, resources: Resources, *, local: bool, quiet: bool, as_json: bool) -> None:
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


def _check_before(suite: Suite, resources: Resources) -> None:
    """What can be refused before any compute is asked for."""
    if suite.pretrain.batch_size % resources.workers:
        raise UserError(
            f"--workers must divide pretrain.batch_size {suite.pretrain.batch_size}, got {resources.workers}; "
            "change one of them"
        )


def _drive(
    resolved: Resolved, store: Store, cells: list[Cell], resources: Resources, *, local: bool, quiet: bool
) -> None:
    from benchmark.executors import LocalExecutor
    from benchmark.progress import Monitor
    from benchmark.runner import SuiteRun
    from benchmark.stages import Compute

    with Monitor(quiet=quiet) as monitor:
        if local:
            import torch

            compute = Compute("cuda" if torch.cuda.is_available() else "cpu", resources.micro_batch)
            executor = LocalExecutor(store, monitor, compute)
            close = None
        else:
            from benchmark.ray_executor import RayExecutor

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
    told = ", ".join(f"{count} {value}" for value, count in counts.items())
    print(f"{suite.name}: {len(cells)} cells, {len(statuses)} records ({told}) in {store.root}, {_time(seconds)}")
    logs = store.local_root / "logs" if store.local_root else None
    if counts.get("failed") and logs and logs.exists():
        print(f"logs of what failed: {logs}")


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
    from benchmark.diagnosis import diagnose

    found = diagnose(path)
    if as_json:
        print(json.dumps([item._asdict() for item in found], indent=1))
    else:
        console = Console()
        marks = {"ok": "[green]ok  [/green]", "note": "[cyan]note[/cyan]", "bad": "[red]BAD [/red]"}
        for item in found:
            console.print(f"{marks[item.level]} [bold]{item.what}[/bold]  {item.told}", highlight=False, soft_wrap=True)
    sys.stdout.flush()
    return 1 if any(item.level == "bad" for item in found) else 0
