"""`python -m benchmark.bench`: runs the benches and prints one table."""

from __future__ import annotations

import importlib
import os
import time
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from benchmark.bench.report import Line, Settings


class Name(StrEnum):
    """The benches, each a file of this folder, in the order in which they run."""

    TRAINING = "training"
    INPUT = "input"
    EVALUATION = "evaluation"
    MEMORY = "memory"
    STARTUP = "startup"
    SEARCH = "search"


def main(
    only: Annotated[list[Name] | None, typer.Option(help="Run these benches alone; may be given again.")] = None,
    threads: Annotated[int, typer.Option(min=1, help="Threads of torch.")] = 1,
    data: Annotated[Path | None, typer.Option(help="Folder of photographs in CIFAR-10's layout.")] = None,
) -> None:
    """Measures the hot paths; every figure is a ratio of two sides measured in this run."""
    os.environ["OMP_NUM_THREADS"] = str(threads)  # before torch is imported, here and in child processes
    import torch

    torch.set_num_threads(threads)
    console, began = Console(), time.perf_counter()
    lines: list[Line] = []
    try:
        for name in Name:
            if not only or name in only:
                with console.status(f"{name} …"):
                    lines += importlib.import_module(f"benchmark.bench.{name}").run(Settings(threads, data))
    finally:  # what was measured is shown even where a bench fails
        console.print(_table(lines))
    photos = "photographs" if data else "drawn shapes"
    console.print(f"{threads} thread(s), {photos}, {time.perf_counter() - began:.0f} s; missed: {_missed(lines)}")


def _missed(lines: list[Line]) -> int:
    return sum(line.met is False for line in lines)


def _table(lines: list[Line]) -> Table:
    table = Table("what", "measured", "baseline", "ratio", "target", "met")
    for line in lines:
        met = "" if line.met is None else "[green]yes[/]" if line.met else "[red]NO[/]"
        ratio = "" if line.ratio is None else f"{line.ratio:.2f}"
        table.add_row(line.what, line.measured, line.baseline, ratio, line.target, met)
    return table


if __name__ == "__main__":
    typer.run(main)
