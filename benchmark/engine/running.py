"""Makes what is missing of a suite, on Ray or in this process: what `backstop run` and `benchmark.run` both do."""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, NamedTuple

from benchmark.config.compute_options import ComputeOptions
from benchmark.config.plugins import keep_sources
from benchmark.engine import document
from benchmark.engine.asked import Only, first_left, select
from benchmark.engine.graph import late_nodes
from benchmark.engine.monitor import Monitor
from benchmark.engine.standing import unfinished
from benchmark.engine.suites import Resolved
from benchmark.errors import UserError, must
from benchmark.models.architectures import threads_for
from benchmark.stages.cells import Cell
from benchmark.stages.common import required
from benchmark.stages.every import stages_of
from benchmark.stages.keys import cells_of
from benchmark.stages.node import Ended, Node, Ref, Stage
from benchmark.stages.preflight import check_data, check_starts, check_workers, doubts, published_models
from benchmark.stages.prepare import row_counter
from benchmark.stages.record import FINAL
from benchmark.store.artifacts import Store

if TYPE_CHECKING:
    from benchmark.engine.executor import Executor
    from benchmark.engine.graph import NodeGraph
    from benchmark.engine.interrupt import Interrupt


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
    further: Mapping[str, Mapping[str, int]] = {}  # what goes on after records, by title: status -> how many nodes
    # status and reason of each row that a failure left without numbers, and of what failed after records
    failures: list[tuple[str, str]] = []


class _Work(NamedTuple):
    """What is asked for, and what of it is left."""

    cells: list[Cell]  # of the suite
    asked: list[Cell]
    left: list[Cell]  # without a final record
    late: list[Node]  # that are still to be made for the others

    @property
    def needs_slots(self) -> bool:
        """Whether anything may be computed; else neither Ray nor torch is wanted."""
        return bool(self.left) or any(node.stage.place != "driver" for node in self.late)


def run(resolved: Resolved, store: Store, resources: ComputeOptions, wanted: Wanted) -> Ran:
    """Makes every record that is asked for and missing, and what finished cells lack.

    Raises:
        UserError: anything that shows before compute is asked for, or data that cannot be read.
    """
    began = time.monotonic()
    suite, stages = resolved.suite, stages_of(resolved.suite, resolved.plugins)
    cells = cells_of(suite)
    asked = first_left(store, select(cells, wanted.only), wanted.limit)
    _check_before(asked, resources, wanted)
    left = unfinished(store, asked, whole=True)
    work = _Work(cells, asked, left, _late(store, stages, asked, left))
    nodes: NodeGraph | None = None
    if left:
        check_data(cell.experiment for cell in asked)
        check_starts(asked, store)
        _fetch_weights(asked, store)
        for line in doubts(cell.experiment for cell in asked):
            print(f"backstop: note: {line}", file=sys.stderr)
    if left or work.late:
        store.require_writable()
        keep_sources(store, resolved.plugins)
        nodes = _drive(resolved, store, stages, work, resources, wanted)
    else:
        _write_suite(resolved, store, cells)
    statuses, failures = _outcome(store, asked, nodes.ended if nodes else {})
    further = _further(nodes) if nodes else {}
    failures += [(one.status, one.reason) for found in further.values() for one in found if not one.ok]
    counts = {title: Counter(one.status for one in found) for title, found in further.items()}
    seconds = time.monotonic() - began
    return Ran(suite.name, len(cells), len(asked), statuses, seconds, counts, failures)


def _fetch_weights(asked: Sequence[Cell], store: Store) -> None:
    """Has published weights here before data are made for hours, so that what cannot be had is said at once."""
    models = published_models(asked, store)
    if models:  # else open_clip and torch are loaded for nothing
        from benchmark.models.published import fetch_published

        for model in models:
            fetch_published(model)


def _late(store: Store, stages: Sequence[Stage], asked: Sequence[Cell], left: Sequence[Cell]) -> list[Node]:
    """What cells that have their final record still need, and what the store tells of what follows."""
    nodes = [node for _, node in late_nodes(asked, left, stages, row_counter(store))]
    found = {item.ref: item for node in nodes for item in (node, *(node.stage.ahead(node, store) or ()))}
    return [node for node in found.values() if not (node.stage.lasting and store.has(*node.ref))]


def _write_suite(
    resolved: Resolved, store: Store, cells: list[Cell], environment: Mapping[str, Any] | None = None
) -> None:
    """Writes the suite's document; without an `environment`, that of the run which computed something stays."""
    before = store.read_json(f"suites/{resolved.suite.name}.json") or {}
    made_on = before.get("environment", {}) if environment is None else environment
    document.write_suite(store, resolved.suite, cells, command=resolved.command, environment=made_on)


def _outcome(store: Store, asked: list[Cell], ended: Mapping[Ref, Ended]) -> tuple[list[str], list[tuple[str, str]]]:
    """The statuses of all records, and what failed, with its reason; also where no record could be written."""
    statuses: list[str] = []
    failures: list[tuple[str, str]] = []
    for cell in asked:
        facts = store.facts("record", cell.keys.record)
        statuses += facts["statuses"].values() if facts else ["missing"]
        unwritten = ended.get(Ref("record", cell.keys.record))
        if facts and not facts["final"]:  # reasons stand in the rows alone
            failures += _failures(store, cell)
        elif not facts and unwritten and not unwritten.ok:
            failures.append((unwritten.status, unwritten.reason))
    return statuses, failures


def _failures(store: Store, cell: Cell) -> list[tuple[str, str]]:
    import pyarrow.parquet as pq

    found = required(store, "record", cell.keys.record)
    rows = pq.read_table(found.path("records.parquet"), columns=["status", "reason"]).to_pylist()
    return [(row["status"], row["reason"]) for row in rows if row["status"] not in FINAL]


def _check_before(asked: Sequence[Cell], resources: ComputeOptions, wanted: Wanted) -> None:
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
    check_workers((cell.experiment for cell in asked), resources.workers)


def _drive(
    resolved: Resolved,
    store: Store,
    stages: Sequence[Stage],
    work: _Work,
    resources: ComputeOptions,
    wanted: Wanted,
) -> NodeGraph:
    """Runs what is left; what became of every node."""
    from benchmark.engine.driver import SuiteRun
    from benchmark.engine.interrupt import Interrupt
    from benchmark.engine.journal import Journal

    logs = store.local_root / "logs" if store.local_root else None
    monitor_ = Monitor(quiet=wanted.quiet, logs=logs if wanted.verbose else None, verbose=wanted.verbose)
    if store.read_json(f"suites/{resolved.suite.name}.json") is None:  # so that `status` knows it while Ray starts
        _write_suite(resolved, store, work.cells)
    with Interrupt() as interrupt, monitor_ as monitor, ExitStack() as stack:
        # before Ray and its first worker are there, which on a cluster may wait for a node
        journal = stack.enter_context(Journal(store, resolved.suite.name))
        executor = _executor(resolved, store, work, resources, wanted, monitor, interrupt, stack)
        asked, left = work.asked, work.left
        run_ = SuiteRun(store, resolved.suite, asked, left, executor, monitor, stages=stages, journal=journal)
        _write_suite(resolved, store, work.cells, executor.environment() if work.needs_slots else None)
        run_.run()
        interrupt.check()
        return run_.graph


def _executor(
    resolved: Resolved,
    store: Store,
    work: _Work,
    resources: ComputeOptions,
    wanted: Wanted,
    monitor: Monitor,
    interrupt: Interrupt,
    stack: ExitStack,
) -> Executor:
    """Where the tasks of a run go; `stack` closes it."""
    from benchmark.engine.local import LocalExecutor
    from benchmark.stages.common import Compute

    suite = resolved.suite
    if not work.needs_slots:
        return LocalExecutor(store, monitor, Compute(), check=interrupt.check)
    if wanted.local:
        import torch

        compute = Compute("cuda" if torch.cuda.is_available() else "cpu", resources.micro_batch)
        threads = suite.threads or threads_for((grid.model.name for grid in suite.grids), os.environ)
        limits = resources.time_limits
        return LocalExecutor(store, monitor, compute, threads=threads, limits=limits, check=interrupt.check)
    from benchmark.engine.ray_token import set_token
    from benchmark.engine.watchman import watched

    set_token(resources.address)
    stack.enter_context(watched())
    from benchmark.engine.ray_pool import RayExecutor

    monitor.say("starting Ray and its workers …")
    plugins, cells = resolved.plugins, work.left
    executor = RayExecutor(store, monitor, resources, plugins, interrupt, cells=cells, threads=suite.threads)
    stack.callback(executor.close)
    return executor


def _further(nodes: NodeGraph) -> dict[str, list[Ended]]:
    """How the nodes ended that cells with a record need too, by title of their stage."""
    found: dict[str, list[Ended]] = {}
    for ref, ended in nodes.ended.items():
        stage = nodes.nodes[ref].stage
        if stage.finished and not (stage.counts_for and ended.ok):  # such a one makes nothing itself
            found.setdefault(stage.title, []).append(ended)
    return found
