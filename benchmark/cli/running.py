"""`backstop run`: makes what is missing of a suite, on Ray or in this process."""

from __future__ import annotations

import json
import time

from benchmark.cli.suites import Resolved
from benchmark.config.spec import ComputeOptions, Suite
from benchmark.engine import plan as planning
from benchmark.engine.monitor import Monitor, clock
from benchmark.errors import UserError
from benchmark.stages import graph
from benchmark.stages.graph import Cell
from benchmark.store.artifacts import Store


def run(
    resolved: Resolved, store: Store, resources: ComputeOptions, *, local: bool, quiet: bool, as_json: bool
) -> None:
    """Makes every record of a suite that is missing, and says what there is."""
    began = time.monotonic()
    suite = resolved.suite
    cells = graph.cells(suite)
    if planning.todo(store, cells):
        _check_before(suite, resources)
        _drive(resolved, store, cells, resources, local=local, quiet=quiet)
    else:
        before = store.read_json(f"suites/{suite.name}.json") or {}
        planning.write_suite(store, suite, cells, command=resolved.command, environment=before.get("environment", {}))
    _summary(suite, store, cells, time.monotonic() - began, as_json=as_json)


def _check_before(suite: Suite, resources: ComputeOptions) -> None:
    """What can be refused before any compute is asked for."""
    for batch_size in (grid.pretrain.batch_size for grid in suite.grids):
        if batch_size % resources.workers:
            raise UserError(
                f"--workers must divide pretrain.batch_size {batch_size}, got {resources.workers}; change one of them"
            )


def _drive(
    resolved: Resolved, store: Store, cells: list[Cell], resources: ComputeOptions, *, local: bool, quiet: bool
) -> None:
    from benchmark.engine.driver import SuiteRun
    from benchmark.engine.local import LocalExecutor
    from benchmark.stages.common import Compute

    with Monitor(quiet=quiet) as monitor:
        if local:
            import torch

            compute = Compute("cuda" if torch.cuda.is_available() else "cpu", resources.micro_batch)
            executor = LocalExecutor(store, monitor, compute)
            close = None
        else:
            from benchmark.engine.ray_pool import RayExecutor

            monitor.say("starting Ray and its workers …")
            executor = RayExecutor(store, monitor, resources, resolved.plugins)
            close = executor.close
        try:
            run_ = SuiteRun(store, resolved.suite, cells, executor, monitor)
            planning.write_suite(
                store, resolved.suite, cells, command=resolved.command, environment=executor.environment()
            )
            run_.run()
        finally:
            if close:
                close()


def _summary(suite: Suite, store: Store, cells: list[Cell], seconds: float, *, as_json: bool) -> None:
    found = [store.find("record", cell.keys.record) for cell in cells]
    statuses = [value for item in found if item for value in item.facts["statuses"].values()]
    counts = {value: statuses.count(value) for value in sorted(set(statuses))}
    if as_json:
        print(json.dumps({"suite": suite.name, "cells": len(cells), "statuses": counts, "seconds": round(seconds, 1)}))
        return
    told = ", ".join(f"{count} {value.replace('_', ' ')}" for value, count in counts.items())
    print(f"{suite.name}: {len(cells)} cells, {len(statuses)} records ({told}) in {clock(seconds)}, store {store.root}")
    logs = store.local_root / "logs" if store.local_root else None
    if counts.get("failed") and logs and logs.exists():
        print(f"logs of what failed: {logs}")
    print(f"to see them: backstop board {suite.name} --store {store.root}")
