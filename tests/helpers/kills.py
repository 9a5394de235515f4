"""Kills a six-cell miniature at random moments and starts it again: `python -m tests.helpers.kills [KILLS [ray]]`."""

from __future__ import annotations

import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path

from tests.helpers.miniature import records, run, start

CELLS = (
    *("--only", "objective=mmcl,attack=badnet,attack=clean"),
    *("--only", "repair=none,repair=cleanclip,repair=fine-tuning"),
)
KILLS_PER_STORE = 5


def made(root: Path) -> int:
    """How many artifacts are finished."""
    return len(list(root.glob("*/*/manifest.json")))


def kill_once(root: Path, *more: str, after: int, later_s: float) -> int | None:
    """Starts the run and kills its whole session once it has made some artifacts more, and a moment has passed.

    Returns:
        How many artifacts there were at its death; None where it had ended before.
    """
    process, before = start(root, *CELLS, *more), made(root)
    while process.poll() is None and made(root) < before + after:
        time.sleep(0.02)
    time.sleep(later_s)
    if process.poll() is not None:
        return None
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return made(root)


def main(kills: int, *more: str) -> None:
    """Kills that many times, several times each store, and compares the records of each with an undisturbed run."""
    draw = random.Random(0)
    with tempfile.TemporaryDirectory(prefix="kills-") as folder:
        calm = Path(folder) / "calm"
        run(calm, *CELLS, *more)
        wanted, deaths, stores = records(calm, part=True), 0, 0
        print(f"undisturbed: {made(calm)} artifacts, {len(wanted)} rows", flush=True)
        while deaths < kills:
            root, stores = Path(folder) / f"killed-{stores}", stores + 1
            for _ in range(KILLS_PER_STORE):
                there = kill_once(root, *more, after=draw.randint(0, 5), later_s=draw.uniform(0, 2))
                deaths += there is not None
                print(f"store {stores}: killed at {there} of {made(calm)} artifacts", flush=True)
            run(root, *CELLS, *more)
            print(f"store {stores}: equal records: {records(root, part=True) == wanted}", flush=True)


if __name__ == "__main__":
    main(int((sys.argv[1:] or ["20"])[0]), *(() if "ray" in sys.argv else ("--local",)))
