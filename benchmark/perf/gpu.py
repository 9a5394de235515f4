"""`make gpu`: what is to be tried on the day when a GPU can be had, step after step.

Each step is a command of its own with its own folder and time limit; one that fails does not stop the next. What came
of it stands in `gpu.json` and in a table. `--device cpu --tiny` tries the list itself, in miniature, without a GPU.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import typer

LIMIT_S = 540
TESTS = ("tests/testing/test_devices.py", "tests/evaluation/test_devices.py")
TINY = (
    *("splits.pretrain=300", "splits.clean=150", "splits.validation=100", "splits.test=100", "data.num_rows=800"),
    *("pretrain.epochs=1", "search.trials=2", "search.quasi_random=1", "repairs.cleanclip.epochs=1"),
    *("repairs.fine-tuning.epochs=1", "repairs.batch-norm-only.epochs=1", "gate.min_asr=0.0", "pretrain.batch_size=64"),
)


class Step(NamedTuple):
    """One step of the list."""

    name: str
    command: Sequence[str]


class Found(NamedTuple):
    """What a step came to; what it printed is in `<name>/log.txt`."""

    name: str
    status: str  # ok, failed, timeout
    wall_s: float
    last_line: str


def steps(folder: Path, *, tiny: bool) -> tuple[Step, ...]:
    """The list, in the order in which it is run."""
    settings = [part for text in TINY for part in ("--set", text)] if tiny else []
    smoke = [
        sys.executable,
        "-m",
        "benchmark.cli",
        "run",
        "smoke",
        "--local",
        "--store",
        str(folder / "smoke" / "store"),
    ]
    return (
        Step("tests", [sys.executable, "-m", "pytest", "-q", "-m", "gpu", *TESTS]),
        Step("smoke", [*smoke, *settings]),
    )


def run_step(step: Step, folder: Path, *, limit_s: float) -> Found:
    """Runs a step in a process of its own; never raises for what the step does."""
    own, began = folder / step.name, time.monotonic()
    own.mkdir(parents=True, exist_ok=True)
    log = own / "log.txt"
    with log.open("w") as printed:
        try:
            done = subprocess.run(step.command, stdout=printed, stderr=subprocess.STDOUT, timeout=limit_s)
            status = "ok" if done.returncode == 0 else "failed"
        except subprocess.TimeoutExpired:
            status = "timeout"
    lines = log.read_text(errors="replace").strip().splitlines()
    return Found(step.name, status, round(time.monotonic() - began, 1), lines[-1].strip() if lines else "")


def main(
    out: Annotated[Path, typer.Option(help="Folder for what is found.")] = Path("gpu-results"),
    device: Annotated[Literal["cuda", "cpu"], typer.Option(help="cpu: try the list itself.")] = "cuda",
    tiny: Annotated[bool, typer.Option("--tiny", help="Everything in miniature.")] = False,
    limit_s: Annotated[float, typer.Option(min=1, help="Seconds that one step may take.")] = LIMIT_S,
) -> None:
    """Runs the list; exit code 1 where a step failed, 2 where there is no GPU."""
    import torch

    if device == "cuda" and not torch.cuda.is_available():
        print("--device must be one that is there, got cuda without a GPU; try the list with --device cpu --tiny")
        raise typer.Exit(2)
    found = []
    for step in steps(out, tiny=tiny):
        found.append(run_step(step, out, limit_s=limit_s))
        (out / "gpu.json").write_text(
            json.dumps({"device": device, "steps": [item._asdict() for item in found]}, indent=1)
        )
        print(
            f"{found[-1].name:<8} {found[-1].status:<8} {found[-1].wall_s:>7.1f} s  {found[-1].last_line}", flush=True
        )
    raise typer.Exit(int(any(item.status != "ok" for item in found)))


if __name__ == "__main__":
    typer.run(main)
