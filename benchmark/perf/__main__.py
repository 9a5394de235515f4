"""`python -m benchmark.perf`: runs the benches and prints a table for each."""

from __future__ import annotations

import importlib
import inspect
import os
import time
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from benchmark.perf.report import Settings, table


class Name(StrEnum):
    """The benches, each a file of this folder, in the order in which they run."""

    TRAINING = "training"
    INPUT = "input"
    EVALUATION = "evaluation"
    MEMORY = "memory"
    STARTUP = "startup"
    SEARCH = "search"
    TRIGGERS = "triggers"
    SAFECLIP = "safeclip"
    DETECTORS = "detectors"
    SCALE = "scale"
    REMOTE = "remote"
    WORKERS = "workers"
    POOL = "pool"


def main(
    only: Annotated[list[Name] | None, typer.Option(help="Run these benches alone; may be given again.")] = None,
    threads: Annotated[int, typer.Option(min=1, help="Threads of torch.")] = 1,
    data: Annotated[Path | None, typer.Option(help="Folder of photographs in CIFAR-10's layout.")] = None,
) -> None:
    """Measures the hot paths; every figure is a ratio of two sides measured in this run."""
    os.environ["OMP_NUM_THREADS"] = str(threads)  # before torch is imported, here and in child processes
    import torch

    torch.set_num_threads(threads)
    console, began, missed = Console(highlight=False), time.perf_counter(), 0
    for name in Name:  # each table as soon as it is there: what was measured is shown even where a later bench fails
        if not only or name in only:
            bench = importlib.import_module(f"benchmark.perf.{name}")
            with console.status(f"{name} …"):
                lines = bench.run(Settings(threads, data))
            console.print(table(inspect.getdoc(bench), lines), "")
            missed += sum(line.met is False for line in lines)
    photos = "photographs" if data else "drawn shapes"
    plural = "s" * (threads > 1)
    console.print(f"{threads} thread{plural}, {photos}, {time.perf_counter() - began:.0f} s; targets missed: {missed}")


if __name__ == "__main__":
    typer.run(main)
