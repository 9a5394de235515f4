"""A run of a miniature of `smoke` in a process of its own; what its store tells of when it computed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from benchmark.config.compute_options import ComputeOptions

# open_clip and torch beforehand on both sides, as the workers of a pool have loaded them before their first task
_CHILD = """
import json, sys
import benchmark  # first: it sets how torch's threads wait
import open_clip
from benchmark.config.compute_options import ComputeOptions
words = json.load(sys.stdin)
benchmark.run("smoke", quiet=True, options=ComputeOptions(**words.pop("options")), **words)
"""


class Timed(NamedTuple):
    """When a run computed."""

    startup_s: float  # from the start of its process to its first task
    wall_s: float  # from there to its last artifact


def timed(
    settings: Mapping[str, Any],
    only: Mapping[str, Any] | None = None,
    *,
    local: bool = False,
    options: ComputeOptions | None = None,
) -> Timed:
    """Runs `smoke` with these fields into a store of its own.

    Raises:
        RuntimeError: it failed; the last lines it wrote are in the message.
    """
    with tempfile.TemporaryDirectory() as store:
        words = {"set": dict(settings), "only": dict(only or {}), "store": store, "local": local}
        words["options"] = (options or ComputeOptions()).model_dump()
        began = time.time()
        _run(json.dumps(words))
        first, last = span(Path(store))
        return Timed(first - began, last - first)


def _run(words: str) -> None:
    # threads are a field of the suite on both sides; one Ray each, whatever cluster is near
    environment = {name: value for name, value in os.environ.items() if name not in ("OMP_NUM_THREADS", "RAY_ADDRESS")}
    command = [sys.executable, "-c", _CHILD]
    done = subprocess.run(command, input=words, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"a run failed: {done.stderr.strip()[-800:] or done.stdout[-800:]}")


def span(store: Path) -> tuple[float, float]:
    """When the first artifact was begun and the last one committed, by the clock of the file system."""
    ends = {manifest: manifest.stat().st_mtime for manifest in store.glob("*/*/manifest.json")}
    first = min(ends, key=ends.__getitem__)
    return ends[first] - json.loads(first.read_text())["facts"]["wall_s"], max(ends.values())
