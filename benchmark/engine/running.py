"""Makes what is missing of a suite, on Ray or in this process: what `backstop run` and `benchmark.run` both do."""

from __future__ import annotations

import os
import sys
import time
from typing import NamedTuple

from benchmark.config.compute_options import ComputeOptions
from benchmark.config.plugins import keep_sources
from benchmark.config.spec import Suite
from benchmark.engine import plan as planning
from benchmark.engine.asked import Only, first_left, select
from benchmark.engine.monitor import Monitor
from benchmark.engine.suites import Resolved
from benchmark.errors import UserError, must
from benchmark.models.architectures import threads_for
from benchmark.stages import graph
from benchmark.stages.graph import Cell
from benchmark.stages.preflight import check_data, check_starts, doubts
from benchmark.store.artifacts import Store


class Wanted(NamedTuple):
    """What a run is asked to make, and how it tells of it meanwhile."""

    only: Only = {}
    limit: int | None = None
    local: bool = False
    quiet: bool = False
    verbose: bool = False


class Ran(NamedTuple):
    """What there is after a run."""

    suite: str
    cells: int  # of the suite
    asked: int  # of these
    statuses: list[str]  # of the asked cells' records, one for each rule; "missing" for a cell without a record
    seconds: float


def run(resolved: Resolved, store: Store, resources: ComputeOptions, wanted: Wanted) -> Ran:
    """Makes every record that is asked for and missing.

    Raises:
        UserError: anything that shows before compute is asked for, or data that cannot be read.
    """
    began = time.monotonic()
    suite = resolved.suite
    cells = graph.cells(suite)
    asked = first_left(store, select(cells, wanted.only), wanted.limit)
    _check_before(suite, resources, wanted)
    if planning.todo(store, asked):
        check_data(cell.experiment for cell in asked)
        check_starts(asked, store)
        for line in doubts(cell.experiment for cell in asked):
            print(f"backstop: note: {line}", file=sys.stderr)
        store.require_writable()
        keep_sources(store, resolved.plugins)
        _drive(resolved, store, cells, asked, resources, wanted)
    else:
        before = store.read_json(f"suites/{suite.name}.json") or {}
        planning.write_suite(store, suite, cells, command=resolved.command, environment=before.get("environment", {}))
    return Ran(suite.name, len(cells), len(asked), _statuses(store, asked), time.monotonic() - began)


def _statuses(store: Store, asked: list[Cell]) -> list[str]:
    found = [store.facts("record", cell.keys.record) for cell in asked]
    return [value for facts in found for value in (facts["statuses"].values() if facts else ["missing"])]


def _check_before(suite: Suite, resources: ComputeOptions, wanted: Wanted) -> None:
    """What can be refused before any compute is asked for."""
    if wanted.quiet and wanted.verbose:
        raise UserError("--quiet must be given without --verbose, got both; drop one of the two")
    options = {
        "--workers": resources.workers if resources.workers > 1 else None,
        "--concurrency": resources.concurrency,
        "--cpus": resources.cpus_per_slot,
        "--gpus": resources.gpus_per_slot,
        "--address": resources.address,
    }
    for option, value in options.items():
        if wanted.local and value is not None:
            raise must(option, "given without --local, which knows no Ray", value, "drop one of the two")
    for batch_size in (training.batch_size for grid in suite.grids for training in grid.trainings.values()):
        if batch_size % resources.workers:
            raise UserError(
                f"--workers must divide pretrain.batch_size {batch_size}, got {resources.workers}; change one of them"
            )


def _drive(
    resolved: Resolved, store: Store, cells: list[Cell], asked: list[Cell], resources: ComputeOptions, wanted: Wanted
) -> None:
    from benchmark.engine.driver import SuiteRun
    from benchmark.engine.interrupt import Interrupt
    from benchmark.engine.local import LocalExecutor
    from benchmark.stages.common import Compute

    logs = store.local_root / "logs" if store.local_root else None
    monitor_ = Monitor(quiet=wanted.quiet, logs=logs if wanted.verbose else None, verbose=wanted.verbose)
    with Interrupt() as interrupt, monitor_ as monitor:
        if wanted.local:
            import torch

            compute = Compute("cuda" if torch.cuda.is_available() else "cpu", resources.micro_batch)
            suite = resolved.suite
            threads = suite.threads or threads_for((grid.model.name for grid in suite.grids), os.environ)
            executor = LocalExecutor(store, monitor, compute, threads=threads)
            close = None
        else:
            from benchmark.engine.ray_token import set_token

            set_token(resources.address)
            from benchmark.engine.ray_pool import RayExecutor

            monitor.say("starting Ray and its workers …")
            executor = RayExecutor(
                store, monitor, resources, resolved.plugins, interrupt, threads=resolved.suite.threads
            )
            close = executor.close
        try:
            run_ = SuiteRun(store, resolved.suite, asked, executor, monitor)
            planning.write_suite(
                store, resolved.suite, cells, command=resolved.command, environment=executor.environment()
            )
            run_.run()
            interrupt.check()
        finally:
            if close:
                close()
