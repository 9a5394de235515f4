"""Search: wall time of trials on two Ray workers against what they compute, halved.

Trials sleep, so that the bench measures what the engine adds and the two workers do not fight for the processor.
"""

from __future__ import annotations

import logging
import os
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

from benchmark.config.spec import Search
from benchmark.engine.ray_token import set_token
from benchmark.perf.report import Line, Settings, at_most
from benchmark.types import Choices, Range
from tuners.queue import CellSearch, TrialReport, TrialResult
from tuners.search import run_search

WORKERS = 2
LONG_S, LONG_RATIO, SHORT_OVER_S = 10.0, 1.25, 1.0  # what is asked of long trials, and of shorter ones


class Load(NamedTuple):
    """One measured search."""

    trial_s: float
    num_cells: int
    num_trials: int  # of a cell, beside the defaults


class Sleeper:
    """A worker whose trials only pass the time."""

    def ready(self) -> int:
        """Answers once the process is up."""
        return os.getpid()

    def run_trial(self, config: dict[str, Any]) -> TrialReport:
        """Sleeps; the numbers it reports are a smooth trade-off."""
        began, x = time.monotonic(), float(config["parameters"]["x"])
        time.sleep(float(config["parameters"]["sleep_s"]))
        return {"status": "ok", "accuracy": x, "asr": x * x, "wall_s": time.monotonic() - began}


def run(_: Settings) -> list[Line]:
    """Short trials and long ones, on one pool of warm workers."""
    set_token()
    import ray

    ray.init(
        address="local",
        num_cpus=WORKERS,
        object_store_memory=128 << 20,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
    )
    try:
        made: Any = ray.remote(num_cpus=1)(Sleeper)
        workers = [made.remote() for _ in range(WORKERS)]
        ray.get([worker.ready.remote() for worker in workers])
        return [line for load in (Load(3.0, 4, 4), Load(LONG_S, 2, 3)) for line in _lines(load, workers)]
    finally:
        ray.shutdown()


def _lines(load: Load, workers: list[Any]) -> list[Line]:
    search = Search(
        trials=load.num_trials, quasi_random=load.num_trials // 2, round_size=2, startup_trials=load.num_trials // 2
    )
    space = {"x": Range(0.0, 1.0), "sleep_s": Choices((load.trial_s,))}
    defaults = {"x": 0.5, "sleep_s": load.trial_s}
    cells = [CellSearch(f"cell-{i}", f"key-{i}", search, space, defaults) for i in range(load.num_cells)]
    ends: list[tuple[float, TrialResult]] = []
    with tempfile.TemporaryDirectory() as folder:
        found = run_search(
            cells, workers, scratch=Path(folder), progress=lambda result: ends.append((time.monotonic(), result))
        )
    results = [result for cell in found.values() for result in cell]
    ideal = sum(result.wall_s for result in results) / len(workers)
    first_end, first = ends[0]
    wall = ends[-1][0] - (first_end - first.wall_s)  # from the first trial's start: start-up stands apart
    name, texts = f"{len(results)} trials of {load.trial_s:g} s (s)", (f"{wall:.1f}", f"{ideal:.1f}")
    if load.trial_s >= LONG_S:
        return [at_most(name, *texts, ratio=wall / ideal, limit=LONG_RATIO)]
    over = (wall - ideal) / len(results)
    extra = Line("over a trial's own time (s)", f"{over:.2f}", "", None, f"<= {SHORT_OVER_S:g}", over <= SHORT_OVER_S)
    return [Line(name, *texts, wall / ideal), extra]
