"""On what a number was made: machine, versions, what rounding depends on, and which code."""

from __future__ import annotations

import os
import platform
import subprocess
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import benchmark
from benchmark.stages.common import Compute

_LIBRARIES = ("torch", "open_clip_torch", "ray", "optuna", "numpy", "pyarrow")
_CODE = ("benchmark", "suites", "tuners", "reports", "constraints.txt", "pyproject.toml")


def environment(compute: Compute) -> dict[str, Any]:
    """Versions, code, device, threads and host of this process, as JSON; for records and a suite's document."""
    return numerics(compute) | {
        "backstop": benchmark.__version__,
        "code": code(),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in _LIBRARIES},
        "host": platform.node(),
        "cpus": os.cpu_count(),
    }


def numerics(compute: Compute) -> dict[str, Any]:
    """What equal bits ask to be equal: torch, device, instruction set of the CPU, threads and micro-batch."""
    import torch

    return {
        "torch": torch.__version__,
        "device": torch.cuda.get_device_name(0) if compute.device.startswith("cuda") else "cpu",
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "micro_batch": compute.micro_batch,
    }


@lru_cache(maxsize=1)
def code() -> dict[str, Any]:
    """Version of the package and, where it runs from a git checkout, its commit and whether its files were changed."""
    return {"version": benchmark.__version__} | checkout(Path(benchmark.__file__).resolve().parents[1])


def checkout(root: Path) -> dict[str, Any]:
    """`commit` and `dirty` of the git checkout whose top is `root`; both None where there is none, or no git."""
    top = _git(root, "rev-parse", "--show-toplevel")
    # an environment inside another project's checkout is not that project's commit
    if top is None or Path(top).resolve() != root.resolve():
        return {"commit": None, "dirty": None}
    changed = _git(root, "status", "--porcelain", "--", *(name for name in _CODE if (root / name).exists()))
    return {"commit": _git(root, "rev-parse", "HEAD"), "dirty": None if changed is None else bool(changed)}


def _git(root: Path, *words: str) -> str | None:
    try:
        done = subprocess.run(["git", "-C", root, *words], capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
