"""The command `backstop`. Options and help only: what a command does is in `commands.py`, loaded when it runs."""

from __future__ import annotations

import sys
from typing import Annotated, Optional

import typer

app = typer.Typer(
    name="backstop",
    help="Benchmark and leaderboard for backdoor attacks and defenses on CLIP-style models.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Suite = Annotated[str, typer.Argument(help="name of a suite (see `backstop list`)")]
Assign = Annotated[
    Optional[list[str]],  # noqa: UP045  (typer reads it at run time)
    typer.Option("--set", metavar="FIELD=VALUE", help="override a field, e.g. data.path=FOLDER; repeat for more"),
]
Plugins = Annotated[
    Optional[list[str]],  # noqa: UP045
    typer.Option("--plugin", metavar="FILE.py", help="load methods from a single file; repeat for more"),
]
Add = Annotated[
    Optional[list[str]],  # noqa: UP045
    typer.Option("--add", metavar="KIND=NAME[:FIELD=VALUE,…]", help="add a method to the grid, e.g. defense=MyDefense"),
]
StorePath = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option("--store", metavar="URL", help="where artifacts live [default: BACKSTOP_STORE or ./store]"),
]
Behind = Annotated[
    Optional[list[str]],  # noqa: UP045
    typer.Option("--from", metavar="URL", help="a read-only store behind it: what is found there is not made again"),
]
Json = Annotated[bool, typer.Option("--json", help="print JSON")]


@app.command("list")
def list_(plugin: Plugins = None, json: Json = False) -> None:
    """List suites, and methods with their cards."""
    from benchmark import commands

    commands.list_all(plugin or [], as_json=json)


@app.command()
def show(suite: Suite, set_: Assign = None, plugin: Plugins = None, add: Add = None) -> None:
    """Show a suite's resolved specification as JSON."""
    from benchmark import commands

    commands.show(commands.resolve(suite, set_ or [], plugin or [], add or []))


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
    from benchmark import commands

    resolved = commands.resolve(suite, set_ or [], plugin or [], add or [])
    commands.plan(resolved, commands.store_at(store, behind), as_json=json)


@app.command()
def run(
    suite: Suite,
    set_: Assign = None,
    plugin: Plugins = None,
    add: Add = None,
    store: StorePath = None,
    behind: Behind = None,
    local: Annotated[bool, typer.Option("--local", help="in this process, without Ray")] = False,
    workers: Annotated[int, typer.Option(min=1, help="Ray Train workers per pre-trained model")] = 1,
    concurrency: Annotated[Optional[int], typer.Option(min=1, help="models and trials at once")] = None,  # noqa: UP045
    cpus: Annotated[Optional[float], typer.Option(min=0.1, help="CPUs of one slot")] = None,  # noqa: UP045
    gpus: Annotated[Optional[float], typer.Option(min=0.01, help="GPUs of one slot, e.g. 0.25")] = None,  # noqa: UP045
    micro_batch: Annotated[Optional[int], typer.Option(min=2, help="samples per forward")] = None,  # noqa: UP045
    address: Annotated[Optional[str], typer.Option(help="Ray cluster [default: RAY_ADDRESS or local]")] = None,  # noqa: UP045
    quiet: Annotated[bool, typer.Option("--quiet", help="print nothing but the summary")] = False,
    json: Json = False,
) -> None:
    """Run a suite; run the same command again to resume."""
    from benchmark import commands
    from benchmark.spec import Resources

    resources = Resources(
        workers=workers,
        concurrency=concurrency,
        cpus_per_slot=cpus,
        gpus_per_slot=gpus,
        micro_batch=micro_batch,
        address=address,
    )
    resolved = commands.resolve(suite, set_ or [], plugin or [], add or [])
    commands.run(resolved, commands.store_at(store, behind), resources, local=local, quiet=quiet, as_json=json)


@app.command()
def status(suite: Suite, store: StorePath = None, behind: Behind = None, json: Json = False) -> None:
    """Show the status of every cell of a suite as last run in this store."""
    from benchmark import commands

    commands.status(suite, commands.store_at(store, behind), as_json=json)


@app.command()
def check(
    file: Annotated[str, typer.Argument(help="a Python file that defines one or more methods")], json: Json = False
) -> None:
    """Run the contract tests on the methods of one file."""
    from benchmark import commands

    raise typer.Exit(commands.check(file, as_json=json))


@app.command()
def board(
    suite: Annotated[Optional[str], typer.Argument(help="a suite in the store [default: all of them]")] = None,  # noqa: UP045
    out: Annotated[Optional[str], typer.Option(help="folder to write to [default: STORE/board]")] = None,  # noqa: UP045
    store: StorePath = None,
    behind: Behind = None,
) -> None:
    """Write the board: one static page with its figures, and the records as CSV."""
    from benchmark import commands

    commands.board(suite, out, commands.store_at(store, behind))


@app.command()
def doctor(store: StorePath = None, json: Json = False) -> None:
    """Check versions, devices, disk and what is missing."""
    from benchmark import commands

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


if __name__ == "__main__":
    main()
