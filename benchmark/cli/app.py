"""The command `backstop`. Names and help only: what a command does is in its own file, loaded when it runs."""

from __future__ import annotations

import io
import sys
from typing import Annotated

import typer

from benchmark.cli import store_app
from benchmark.cli.options import (
    Add,
    Address,
    Architecture,
    Assign,
    AuditOut,
    Behind,
    Classes,
    CleanData,
    Concurrency,
    Cpus,
    DataFields,
    File,
    Gpus,
    Inspectors,
    Json,
    Limit,
    Listed,
    Local,
    Mend,
    MicroBatch,
    NoProbe,
    Only,
    Out,
    Plugins,
    Quiet,
    Seed,
    Storage,
    Stored,
    StorePath,
    Suite,
    TimeLimits,
    Trust,
    Verbose,
    ViewsPerS,
    Weights,
    Workers,
)

MISTAKE, INTERRUPTED = 2, 130  # exit codes

app = typer.Typer(
    name="backstop",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


app.add_typer(store_app.app)


def _version(wanted: bool) -> None:
    if wanted:
        from benchmark import __version__

        print(f"backstop {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="print the version and end")
    ] = False,
) -> None:
    """Benchmark and leaderboard for backdoor attacks and defenses on CLIP-style models."""


@app.command("list")
def list_(what: Listed = None, plugin: Plugins = None, json: Json = False) -> None:
    """List suites, and methods with their cards."""
    from benchmark.cli import listing

    listing.list_all(what, plugin, as_json=json)


@app.command()
def show(
    suite: Suite,
    set_: Assign = None,
    plugin: Plugins = None,
    add: Add = None,
    store: StorePath = None,
    behind: Behind = None,
    trust: Trust = False,
) -> None:
    """Show a suite, or the cell of a record, as the JSON that `run` reads."""
    from benchmark.cli import listing
    from benchmark.engine import suites
    from benchmark.output import document_alone

    with document_alone():
        resolved, _ = suites.resolve_at(store, behind, suite, set_, plugin, add, trusted=trust)
        listing.show(resolved)


@app.command()
def plan(
    suite: Suite,
    set_: Assign = None,
    plugin: Plugins = None,
    add: Add = None,
    only: Only = None,
    limit: Limit = None,
    store: StorePath = None,
    behind: Behind = None,
    no_probe: NoProbe = False,
    views_per_s: ViewsPerS = None,
    trust: Trust = False,
    json: Json = False,
) -> None:
    """Say what a run would do: cells, cached and to make, time from past records or a probe, disk."""
    from benchmark.cli import plan as plans
    from benchmark.engine import asked, suites

    cells = asked.read_only(only or ())
    resolved, stored = suites.resolve_at(store, behind, suite, set_, plugin, add, trusted=trust)
    plans.plan(resolved, stored, cells, limit, may_probe=not no_probe, views_per_s=views_per_s, as_json=json)


@app.command()
def run(
    suite: Suite,
    set_: Assign = None,
    plugin: Plugins = None,
    add: Add = None,
    only: Only = None,
    limit: Limit = None,
    store: StorePath = None,
    behind: Behind = None,
    trust: Trust = False,
    local: Local = False,
    workers: Workers = 1,
    concurrency: Concurrency = None,
    cpus: Cpus = None,
    gpus: Gpus = None,
    micro_batch: MicroBatch = None,
    time_limit: TimeLimits = None,
    address: Address = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
    json: Json = False,
) -> None:
    """Run a suite; run the same command again to resume."""
    from benchmark.cli import summary
    from benchmark.config.compute_options import ComputeOptions
    from benchmark.config.time_limits import read_time_limits
    from benchmark.engine import asked, running, suites
    from benchmark.stages.every import EVERY

    resources = ComputeOptions(
        workers=workers,
        concurrency=concurrency,
        cpus_per_slot=cpus,
        gpus_per_slot=gpus,
        micro_batch=micro_batch,
        time_limits=read_time_limits(time_limit or (), (stage.name for stage in EVERY if stage.place == "slot")),
        address=address,
    )
    wanted = running.Wanted(asked.read_only(only or ()), limit, local, quiet, verbose)
    resolved, stored = suites.resolve_at(store, behind, suite, set_, plugin, add, trusted=trust)
    made = running.run(resolved, stored, resources, wanted)
    raise typer.Exit(summary.tell(made, stored, as_json=json))


@app.command()
def status(suite: Suite, only: Only = None, store: StorePath = None, behind: Behind = None, json: Json = False) -> None:
    """Show how every cell of a suite stands: done, running, failed, or waiting for what."""
    from benchmark.cli import status as standing
    from benchmark.engine import asked, suites

    stored = suites.store_of(store, behind, suite)
    standing.status(suites.stored_name(suite), stored, asked.read_only(only or ()), as_json=json)


@app.command()
def check(file: File, json: Json = False) -> None:
    """Run the contract tests on the methods of one file."""
    from benchmark.cli.check import check as run_check

    raise typer.Exit(run_check(file, as_json=json))


@app.command()
def board(suite: Stored = None, out: Out = None, store: StorePath = None, behind: Behind = None) -> None:
    """Write the board: one static page with its figures, and the records as CSV."""
    from benchmark.cli import board as boards
    from benchmark.engine import suites

    stored = suites.store_of(store, behind, suite, outcomes=True)
    boards.board(suite and suites.stored_name(suite), out, stored)


@app.command()
def studies(
    suite: Suite,
    storage: Storage,
    set_: Assign = None,
    plugin: Plugins = None,
    add: Add = None,
    store: StorePath = None,
    behind: Behind = None,
    trust: Trust = False,
    json: Json = False,
) -> None:
    """Write the searches of a suite as studies into an Optuna storage, for Optuna's dashboard and plots."""
    from benchmark.cli import studies as export
    from benchmark.engine import suites

    resolved, stored = suites.resolve_at(store, behind, suite, set_, plugin, add, trusted=trust)
    export.studies(resolved, stored, storage, as_json=json)


@app.command()
def audit(
    weights: Weights,
    data: CleanData,
    classes: Classes = None,
    model: Architecture = None,
    detector: Inspectors = None,
    repair: Mend = None,
    set_: DataFields = None,
    out: AuditOut = "audit",
    seed: Seed = 0,
    store: StorePath = None,
    plugin: Plugins = None,
    json: Json = False,
) -> None:
    """Inspect one checkpoint with clean data, repair it if asked, and write a report."""
    from benchmark.audit.command import Options
    from benchmark.audit.command import audit as run_audit

    given = Options(
        weights, data, classes, model, detector or (), repair, set_ or (), out, seed, store, plugin or (), json
    )
    run_audit(given)


@app.command()
def doctor(store: StorePath = None, json: Json = False) -> None:
    """Check versions, devices, disk and what is missing."""
    from benchmark.cli.doctor import doctor as run_doctor

    raise typer.Exit(run_doctor(store, as_json=json))


def main() -> None:
    """Runs the command; ends with 0, 1 (something that was asked for failed), 2 (a user's mistake) or 130."""
    from benchmark.errors import UserError, refusal

    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal that cannot write "·" or "✓" shows "?"
            stream.reconfigure(errors="replace")
    try:
        app()
    except UserError as error:
        sys.exit(_mistake(str(error)))
    except SystemExit as end:
        # typer turns an interrupt into this code, so that it never arrives here as what it was
        if end.code == INTERRUPTED:
            print("backstop: interrupted; run the same command again to go on", file=sys.stderr)
        raise
    except Exception as error:
        from benchmark.config.plugins import fault_of

        told = refusal(error) or fault_of(error)
        if told is None:
            raise
        sys.exit(_mistake(told))


def _mistake(line: str) -> int:
    print(f"backstop: {line}", file=sys.stderr)
    return MISTAKE
