"""The command `backstop`. Options and help only: what a command does is in `commands.py`, loaded when it runs."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

app = typer.Typer(
    name="backstop",
    help="Benchmark and leaderboard for backdoor attacks and defenses on CLIP-style models.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

# Every option once; `list[str] | None` since typer has None where a repeatable option was not given.
Suite = Annotated[str, typer.Argument(help="name of a suite (see `backstop list`)")]
File = Annotated[str, typer.Argument(help="a Python file that defines one or more methods")]
Stored = Annotated[str | None, typer.Argument(help="a suite in the store [default: all of them]")]
Assign = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="FIELD=VALUE", help="override a field, e.g. data.path=FOLDER; repeat for more"),
]
Plugins = Annotated[
    list[str] | None,
    typer.Option("--plugin", metavar="FILE.py", help="load methods from a single file; repeat for more"),
]
Add = Annotated[
    list[str] | None,
    typer.Option("--add", metavar="KIND=NAME[:FIELD=VALUE,…]", help="add a method to the grid, e.g. defense=MyDefense"),
]
StorePath = Annotated[
    str | None,
    typer.Option("--store", metavar="URL", help="where artifacts live [default: BACKSTOP_STORE or ./store]"),
]
Behind = Annotated[
    list[str] | None,
    typer.Option("--from", metavar="URL", help="a read-only store behind it: what is found there is not made again"),
]
Out = Annotated[str | None, typer.Option("--out", metavar="FOLDER", help="folder to write to [default: STORE/board]")]
Local = Annotated[bool, typer.Option("--local", help="in this process, without Ray")]
Workers = Annotated[int, typer.Option("--workers", metavar="N", min=1, help="Ray Train workers per pre-trained model")]
Concurrency = Annotated[int | None, typer.Option("--concurrency", metavar="N", min=1, help="models and trials at once")]
Cpus = Annotated[float | None, typer.Option("--cpus", metavar="NUMBER", min=0.1, help="CPUs of one slot")]
Gpus = Annotated[float | None, typer.Option("--gpus", metavar="NUMBER", min=0.01, help="GPUs of one slot, e.g. 0.25")]
MicroBatch = Annotated[int | None, typer.Option("--micro-batch", metavar="N", min=2, help="samples per forward")]
Address = Annotated[
    str | None, typer.Option("--address", metavar="ADDRESS", help="Ray cluster [default: RAY_ADDRESS or local]")
]
Quiet = Annotated[bool, typer.Option("--quiet", help="print nothing but the summary")]
Weights = Annotated[
    str,
    typer.Argument(
        help="safetensors file, folder in Hugging Face layout, artifact of a store, or NAME:TAG of open_clip"
    ),
]
CleanData = Annotated[
    str,
    typer.Option(
        "--data", metavar="PATH", help="clean pairs or labelled images: Parquet, WebDataset, image folder, CSV"
    ),
]
Classes = Annotated[
    str | None, typer.Option("--classes", metavar="A,B,…", help="class names in label order, or a file of them")
]
Architecture = Annotated[
    str | None, typer.Option("--model", metavar="NAME", help="architecture of a bare file of weights")
]
Inspectors = Annotated[
    list[str] | None,
    typer.Option(
        "--detector",
        metavar="NAME[:FIELD=VALUE,…]",
        help="repeat for more [default: every model detector, at its published settings]",
    ),
]
Mend = Annotated[
    str | None,
    typer.Option("--repair", metavar="NAME[:FIELD=VALUE,…]", help="write a repaired checkpoint too [default: none]"),
]
DataFields = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="FIELD=VALUE", help="about the data: image=img, caption=text, label=y, clean=500, …"),
]
AuditOut = Annotated[str, typer.Option("--out", metavar="FOLDER", help="folder to write to")]
Seed = Annotated[int, typer.Option("--seed", metavar="N", help="of the split, the detectors and the repair")]
Json = Annotated[bool, typer.Option("--json", help="print JSON")]


@app.command("list")
def list_(plugin: Plugins = None, json: Json = False) -> None:
    """List suites, and methods with their cards."""
    from benchmark.cli import commands

    commands.list_all(plugin, as_json=json)


@app.command()
def show(suite: Suite, set_: Assign = None, plugin: Plugins = None, add: Add = None) -> None:
    """Show a suite's resolved specification as JSON."""
    from benchmark.cli import commands

    commands.show(commands.resolve(suite, set_, plugin, add))


@app.command()
def plan(
    suite: Suite,
    set_: Assign = None,
    plugin: Plugins = None,
    add: Add = None,
    store: StorePath = None,
    behind: Behind = None,
    json: Json = False,
) -> None:
    """Say what a run would do: cells, cached and to make, time from past records, disk."""
    from benchmark.cli import commands

    commands.plan(commands.resolve(suite, set_, plugin, add), commands.store_at(store, behind), as_json=json)


@app.command()
def run(
    suite: Suite,
    set_: Assign = None,
    plugin: Plugins = None,
    add: Add = None,
    store: StorePath = None,
    behind: Behind = None,
    local: Local = False,
    workers: Workers = 1,
    concurrency: Concurrency = None,
    cpus: Cpus = None,
    gpus: Gpus = None,
    micro_batch: MicroBatch = None,
    address: Address = None,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Run a suite; run the same command again to resume."""
    from benchmark.cli import commands
    from benchmark.config.spec import ComputeOptions

    resources = ComputeOptions(
        workers=workers,
        concurrency=concurrency,
        cpus_per_slot=cpus,
        gpus_per_slot=gpus,
        micro_batch=micro_batch,
        address=address,
    )
    resolved = commands.resolve(suite, set_, plugin, add)
    commands.run(resolved, commands.store_at(store, behind), resources, local=local, quiet=quiet, as_json=json)


@app.command()
def status(suite: Suite, store: StorePath = None, behind: Behind = None, json: Json = False) -> None:
    """Show the status of every cell of a suite as last run in this store."""
    from benchmark.cli import commands

    commands.status(suite, commands.store_at(store, behind), as_json=json)


@app.command()
def check(file: File, json: Json = False) -> None:
    """Run the contract tests on the methods of one file."""
    from benchmark.cli import commands

    raise typer.Exit(commands.check(file, as_json=json))


@app.command()
def board(suite: Stored = None, out: Out = None, store: StorePath = None, behind: Behind = None) -> None:
    """Write the board: one static page with its figures, and the records as CSV."""
    from benchmark.cli import commands

    commands.board(suite, out, commands.store_at(store, behind))


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
    from benchmark.cli import commands

    raise typer.Exit(commands.doctor(store, as_json=json))


def main() -> None:
    """Runs the command; a user's mistake is one line on stderr and exit code 2."""
    from benchmark.errors import UserError

    try:
        app()
    except UserError as error:
        print(f"backstop: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("backstop: interrupted; run the same command again to go on", file=sys.stderr)
        sys.exit(130)
    except OSError as error:
        import errno

        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        place = error.filename or "the store's disk"
        print(f"backstop: {place} must have space left, got none; free some or choose --store", file=sys.stderr)
        sys.exit(2)
