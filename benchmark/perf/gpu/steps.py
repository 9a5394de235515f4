"""The list: steps in their order, each a command of its own with its own folder and time limit."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

TESTS = ("tests/testing/test_devices.py", "tests/evaluation/test_devices.py", "tests/training/test_loop.py")
TINY = (
    *("splits.pretrain=300", "splits.clean=150", "splits.validation=100", "splits.test=100", "data.num_rows=800"),
    *("pretrain.epochs=1", "search.trials=2", "search.quasi_random=1", "repairs.cleanclip.epochs=1"),
    *("repairs.fine-tuning.epochs=1", "repairs.batch-norm-only.epochs=1", "gate.min_asr=0.0", "pretrain.batch_size=64"),
)
ONE_OBJECTIVE = ("--only", "objective=mmcl")


class Name(StrEnum):
    """The steps, in the order in which they are run."""

    TESTS = "tests"
    SMOKE = "smoke"
    COMPARE = "compare"
    BENCH = "bench"
    QUESTION = "question"


class Options(NamedTuple):
    """What the command line chose."""

    out: Path
    device: str  # cuda or cpu
    tiny: bool = False
    cpu_store: str | None = None  # a store in which `smoke` was run without a GPU
    data: Path | None = None  # photographs in CIFAR-10's layout; None: drawn shapes
    mmcl_epochs: int | None = None  # of pre-training in the question; None: its own
    ssl_epochs: int | None = None


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


def steps(options: Options) -> tuple[Step, ...]:
    """The list, in the order in which it is run; without `cpu_store` nothing is compared."""
    settings = [*ONE_OBJECTIVE, *(part for text in TINY for part in ("--set", text))] if options.tiny else []
    tiny = ["--tiny"] if options.tiny else []
    store = str(options.out / Name.SMOKE / "store")
    compare = _module("benchmark.perf.gpu.compare", store, options.cpu_store or "")
    listed = (
        Step(Name.TESTS, _module("pytest", "-q", "-m", "gpu", *TESTS)),
        Step(Name.SMOKE, _module("benchmark.cli", "run", "smoke", "--local", "--store", store, *settings)),
        Step(Name.COMPARE, compare),
        Step(Name.BENCH, _module("benchmark.perf.gpu.bench", *_place(options, Name.BENCH), *tiny)),
        Step(Name.QUESTION, _module("benchmark.perf.gpu.question", *_question(options), *tiny)),
    )
    return tuple(step for step in listed if options.cpu_store or step.name != Name.COMPARE)


def _module(name: str, *words: str) -> list[str]:
    return [sys.executable, "-m", name, *words]


def _place(options: Options, name: str) -> list[str]:
    return ["--out", str(options.out / name), "--device", options.device]


def _question(options: Options) -> list[str]:
    given = {"--data": options.data, "--mmcl-epochs": options.mmcl_epochs, "--ssl-epochs": options.ssl_epochs}
    chosen = [word for option, value in given.items() if value is not None for word in (option, str(value))]
    return ["--out", str(options.out / Name.QUESTION), *chosen]


def run_step(step: Step, folder: Path, *, limit_s: float, device: str = "cuda") -> Found:
    """Runs a step in a process of its own; never raises for what the step does."""
    own, began = folder / step.name, time.monotonic()
    own.mkdir(parents=True, exist_ok=True)
    log = own / "log.txt"
    # cuBLAS repeats its bits only with a workspace of fixed size, which exact continuation is tested with
    environment = (
        os.environ | {"CUBLAS_WORKSPACE_CONFIG": ":4096:8"} | ({"CUDA_VISIBLE_DEVICES": ""} if device == "cpu" else {})
    )
    with log.open("w") as printed:
        try:
            done = subprocess.run(
                step.command, stdout=printed, stderr=subprocess.STDOUT, timeout=limit_s, env=environment
            )
            status = "ok" if done.returncode == 0 else "failed"
        except subprocess.TimeoutExpired:
            status = "timeout"
    lines = log.read_text(errors="replace").strip().splitlines()
    return Found(step.name, status, round(time.monotonic() - began, 1), lines[-1].strip() if lines else "")
