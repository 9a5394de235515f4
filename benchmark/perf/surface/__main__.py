"""`python -m benchmark.perf.surface`: prints the tables of the kept surface; `measure` and `gather` make it anew."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import optuna
import typer
from rich import box
from rich.console import Console
from rich.table import Table

from benchmark.perf.surface.table import FILE, Curves, load, load_study
from benchmark.perf.surface.tables import SamplerLine, sampler_lines, stop_lines
from benchmark.perf.surface.value import BOUND, whole, worth

app = typer.Typer(add_completion=False, no_args_is_help=False, pretty_exceptions_enable=False)
STUDY_BUDGET = 8  # trials of the 8 or 13 that the study ran
BUDGET = 32


@app.callback(invoke_without_command=True)
def tables(
    context: typer.Context,
    redraws: Annotated[int, typer.Option(min=2, help="Searches per sampler, budget and model.")] = 50,
    study: Annotated[
        Path | None, typer.Option(help="CSV of the study's cleaning runs, for the stopping rules.")
    ] = None,
) -> None:
    """Prints what each sampler, budget and stopping rule would have found."""
    if context.invoked_subcommand:
        return
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    console, models = Console(highlight=False, width=120), load()
    console.print(_starts(models), "")
    console.print(_samplers(list(sampler_lines(models, redraws))), "")
    for equal in ("trials", "epochs"):
        _print_stopping(console, "the surface", models, redraws, trials=BUDGET, equal=equal)
    if study is not None:
        for curves in load_study(study):
            _print_stopping(console, curves.objective, [curves], redraws, trials=STUDY_BUDGET, equal="trials")


def _starts(models: Sequence[Curves]) -> Table:
    """What the whole grid finds, per model."""
    table = _table(
        "The whole grid", "pre-training", "seed", "trials", "CA", "net ASR", "area", "area, test", "cut", "met"
    )
    for curves in models:
        found, start = worth(curves, whole(curves)), curves.test.start
        met = float((curves.validation.points[..., 1] <= BOUND).mean())
        table.add_row(
            curves.objective,
            str(curves.seed),
            str(curves.num_trials),
            *(f"{value:.3f}" for value in (*start, found.validation, found.test)),
            f"{100 * found.cut:+.1f} %",
            f"{100 * met:.0f} %",
        )
    return table


def _samplers(lines: Sequence[SamplerLine]) -> Table:
    names = ("area", "lowest tenth", "area, test", "reached 99 %", "gap of areas", "gap of cuts")
    table = _table("Samplers: shares of the whole grid", "sampler", "trials", "redraws", *names)
    for line in lines:
        table.add_row(
            line.sampler,
            str(line.trials),
            str(line.redraws),
            *(f"{share:.3f}" for share in (line.validation, line.low, line.test)),
            f"{100 * line.reached:.0f} %",
            f"{line.gap:+.3f} ± {line.gap_deviation:.3f}",
            f"{100 * line.cut_gap:+.1f} ± {100 * line.cut_deviation:.1f}",
        )
    return table


def _print_stopping(
    console: Console, name: str, models: Sequence[Curves], redraws: int, *, trials: int, equal: str
) -> None:
    names = ("trials", "epochs of the grid", "area", "lowest tenth", "area, test", "reached 99 %")
    table = _table(f"Stopping, {equal} of {trials} random trials: {name}", "rule", *names)
    for line in stop_lines(models, redraws, trials=trials, equal=equal):
        shares = (f"{share:.3f}" for share in (line.validation, line.low, line.test))
        spent = (f"{line.trials:.0f}", f"{100 * line.epochs:.0f} %")
        table.add_row(line.rule, *spent, *shares, f"{100 * line.reached:.0f} %")
    console.print(table, "")


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, show_edge=False, title_style="bold")
    for place, column in enumerate(columns):
        table.add_column(column, justify="left" if place == 0 else "right")
    return table


@app.command()
def measure(
    store: Annotated[str, typer.Option(help="Store in which `world.py` was run.")],
    folder: Annotated[Path, typer.Option(help="Folder that takes one file per point.")],
    part: Annotated[str, typer.Option(help="I/N: every Nth point, beginning with the Ith (0-based).")] = "0/1",
) -> None:
    """Measures what is missing of the surface: hours of one core."""
    import torch

    from benchmark.perf.surface import measure as work
    from benchmark.store.artifacts import open_store

    torch.set_num_threads(1)
    own, _, parts = part.partition("/")
    work.measure(open_store(store), folder, part=int(own), parts=int(parts))


@app.command()
def gather(folder: Annotated[Path, typer.Option(help="Folder of all points.")], file: Path = FILE) -> None:
    """Joins the points to the table that is kept."""
    from benchmark.perf.surface.measure import gather as join

    typer.echo(f"{join(folder, file)} rows in {file}")


if __name__ == "__main__":
    app()
