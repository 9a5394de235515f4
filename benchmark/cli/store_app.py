"""The commands of `backstop store`. Names and help only, as in `app.py`."""

from __future__ import annotations

from typing import Annotated

import typer

from benchmark.cli.options import Behind, Json, StorePath

app = typer.Typer(name="store", no_args_is_help=True, rich_markup_mode=None, help="Look after a store.")

DryRun = Annotated[bool, typer.Option("--dry-run", help="say what would be removed, and remove nothing")]
Drop = Annotated[bool, typer.Option("--drop", help="have the next run make what is damaged again")]
Logs = Annotated[bool, typer.Option("--logs", help="tracebacks of failures too")]
Trials = Annotated[bool, typer.Option("--trials", help="weights of finished searches, too, that no record stands on")]
Hours = Annotated[
    float, typer.Option("--older-than", metavar="HOURS", min=0, help="leave alone what was changed since")
]
What = Annotated[str, typer.Argument(metavar="SUITE|KEY", help="a suite that was run there, or an artifact's key")]
Stages = Annotated[
    list[str] | None,
    typer.Option("--stage", metavar="NAME", help="of a suite only these, as record; repeat for more"),
]

Suite = Annotated[str, typer.Argument(help="a suite that was run there")]
Bundle = Annotated[str, typer.Option("--out", metavar="FOLDER", help="the suite's folder of published results")]

WeightsOf = Annotated[
    list[int] | None,
    typer.Option("--weights", metavar="SEED", help="with the pre-trained models of a seed, in bf16; repeat for more"),
]


@app.command()
def ls(store: StorePath = None, json: Json = False) -> None:
    """Show what a store has of each stage, and how large it is."""
    from benchmark.cli import store as commands
    from benchmark.engine import suites

    commands.ls(suites.store_at(store), as_json=json)


@app.command()
def verify(store: StorePath = None, drop: Drop = False, json: Json = False) -> None:
    """Read every file anew and compare it with what was written."""
    from benchmark.cli import store as commands
    from benchmark.engine import suites

    raise typer.Exit(commands.verify(suites.store_at(store), drop=drop, as_json=json))


@app.command()
def gc(
    store: StorePath = None,
    dry_run: DryRun = False,
    older_than: Hours = 24.0,
    logs: Logs = False,
    trials: Trials = False,
    json: Json = False,
) -> None:
    """Remove what nobody needs: attempts that came to nothing, checkpoints of trainings that ended, torn files."""
    from benchmark.cli import store as commands
    from benchmark.engine import suites

    commands.gc(suites.store_at(store), hours=older_than, logs=logs, trials=trials, dry_run=dry_run, as_json=json)


@app.command()
def pull(what: What, behind: Behind = None, store: StorePath = None, stage: Stages = None, json: Json = False) -> None:
    """Copy a suite's artifacts, or one, from the stores that --from names."""
    from benchmark.cli import store as commands
    from benchmark.engine import suites

    commands.pull(suites.store_at(store, behind), what, stage or (), as_json=json)


@app.command()
def publish(
    suite: Suite,
    out: Bundle,
    weights: WeightsOf = None,
    store: StorePath = None,
    behind: Behind = None,
    json: Json = False,
) -> None:
    """Write the finished seeds of a suite into a folder of small files: records, trials, outcomes on test."""
    from benchmark.cli import store as commands
    from benchmark.engine import suites

    commands.publish(suites.store_at(store, behind), suites.stored_name(suite), out, weights or (), as_json=json)
