"""Runs tasks on a pool of warm Ray actors, searches through one Ray Tune `Tuner`, pre-training through Ray Train."""

from __future__ import annotations

import os
import socket
import threading
import uuid
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cloudpickle
import ray
from ray import exceptions
from ray._private import worker as ray_printing

from benchmark.config.compute_options import ComputeOptions
from benchmark.config.plugins import Plugin
from benchmark.engine.interrupt import Interrupt
from benchmark.engine.local import announce, announce_trial
from benchmark.engine.monitor import Monitor
from benchmark.engine.ray_worker import SharedState, Worker
from benchmark.engine.task import Task, TaskResult, execute
from benchmark.errors import UserError, must
from benchmark.stages.common import Compute
from benchmark.store.artifacts import Store

ANSWER_S = 10.0  # how long an address may take to answer
_QUIET = {
    "RAY_DEDUP_LOGS": "1",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_TRAIN_ENABLE_STATE_TRACKING": "0",
    "RAY_DISABLE_IMPORT_WARNING": "1",
    "RAY_worker_niceness": "0",  # Ray's default of 15 lets anything else on the machine starve a run
}


def connect(resources: ComputeOptions) -> None:
    """Joins the cluster of `resources.address` or RAY_ADDRESS, else starts one on this machine.

    `ray_token.set_token` comes before the import of this module.
    """
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    if ray.is_initialized():
        return
    # Ray prints a paragraph for each worker that dies, and has no public switch for it; what died is a status anyway
    ray_printing._worker_logs_enabled = False
    address = resources.address or os.environ.get("RAY_ADDRESS")
    options: dict[str, Any] = {"logging_level": "ERROR", "log_to_driver": False}
    if address:
        _check_answers(address)
        options["address"] = address
    else:
        # Train's cleaner of worker groups needs the dashboard; a pool of actors does not
        options |= {"address": "local", "include_dashboard": resources.workers > 1, "object_store_memory": 256 << 20}
    try:
        ray.init(**options)
    except Exception as error:  # Ray raises Exception itself where its own start times out
        if address:
            raise must("--address", "that of a running Ray cluster", address, _first_line(error)) from None
        what = "the machine may be overloaded: try again, or run with --local"
        raise UserError(f"Ray must start on this machine, got {_first_line(error)!r}; {what}") from None


def _check_answers(address: str) -> None:
    """Refuses an address where nobody listens, on which Ray itself would go on trying.

    Raises:
        UserError: nobody answers there.
    """
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if not port.isdigit():
        return  # "auto", or a name that Ray resolves
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=ANSWER_S).close()
    except (OSError, OverflowError) as error:
        remedy = f"nobody answers there ({error}); see `ray status`, or leave it out to start Ray here"
        raise must("--address", "that of a running Ray cluster", address, remedy) from None


def _first_line(error: BaseException) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


def check_slot(resources: ComputeOptions, cpus: float, gpus: float) -> None:
    """Refuses a slot that is larger than the cluster, which Ray would wait for, or that would be ignored.

    Raises:
        UserError: more CPUs than there are, or GPUs of a cluster without them.
    """
    for option, wanted, there in (("--cpus", resources.cpus_per_slot, cpus), ("--gpus", resources.gpus_per_slot, gpus)):
        if wanted and wanted > there:
            unit = option.strip("-").upper()[:-1]
            raise must(option, f"at most the {there:g} {unit}s of the cluster", wanted, "lower it, or leave it out")


class RayExecutor:
    """Slots of the cluster as warm workers: whole or fractional GPUs where there are any, else CPUs."""

    def __init__(
        self,
        store: Store,
        monitor: Monitor,
        resources: ComputeOptions,
        plugins: Sequence[Plugin],
        interrupt: Interrupt,
        *,
        threads: int | None = None,
    ) -> None:
        connect(resources)
        self.store, self.monitor, self.resources, self.plugins = store, monitor, resources, tuple(plugins)
        self._interrupt, self._threads = interrupt, threads  # None: as many as a slot has CPUs
        found = ray.cluster_resources()
        self._gpus, self._cpus = found.get("GPU", 0.0), found.get("CPU", 1.0)
        try:
            check_slot(resources, self._cpus, self._gpus)
        except UserError:
            ray.shutdown()
            raise
        self.compute = Compute("cuda" if self._gpus else "cpu", resources.micro_batch, resources.checkpoint_epochs)
        self.slots = resources.concurrency or self._natural_slots()
        self._board_name = f"backstop-board-{uuid.uuid4().hex}"
        self._board: Any = ray.remote(SharedState).options(num_cpus=0, name=self._board_name).remote()
        self._workers: list[Any] = []
        self._environment: dict[str, Any] = {}

    def _natural_slots(self) -> int:
        if self._gpus:
            return max(1, int(self._gpus / (self.resources.gpus_per_slot or 1.0)))
        return max(1, int(self._cpus / (self.resources.cpus_per_slot or 1.0)))

    def workers(self) -> list[Any]:
        """The pool; started at the first call, warm afterwards. A worker that dies comes back under its handle."""
        if not self._workers:
            cpus = self.resources.cpus_per_slot or max(1.0, self._cpus // self.slots)
            gpus = (self.resources.gpus_per_slot or 1.0) if self._gpus else 0.0
            actor = ray.remote(Worker).options(
                num_cpus=min(cpus, self._cpus / self.slots),
                num_gpus=gpus,
                max_restarts=-1,
                max_task_retries=self.resources.max_failures,
            )
            threads = self._threads or max(1, int(cpus))
            arguments = (self.store, self.plugins, self.compute, threads, self._board_name)
            self._workers = [actor.remote(*arguments) for _ in range(self.slots)]
            self._environment = ray.get([worker.ready.remote() for worker in self._workers])[0]
        return self._workers

    def run(self, tasks: Sequence[Task]) -> dict[str, TaskResult]:
        """Runs tasks on the pool, as many at once as there are slots."""
        if not tasks:
            return {}
        free, waiting, running = deque(self.workers()), deque(tasks), dict[Any, tuple[Task, Any]]()
        results: dict[str, TaskResult] = {}
        while waiting or running:
            self._interrupt.check()
            while waiting and free:
                task, worker = waiting.popleft(), free.popleft()
                self.monitor.start(task.key, task.label, task.work)
                running[worker.run.remote(task)] = (task, worker)
            done, _ = ray.wait(list(running), timeout=0.5)
            self._show_ticks()
            for reference in done:
                task, worker = running.pop(reference)
                results[task.key] = _result(task, reference)
                announce(self.monitor, task, results[task.key])
                free.append(worker)
        return results

    def pretrain(self, tasks: Sequence[Task]) -> dict[str, TaskResult]:
        """One worker per model: local mode inside the pool. Several: one worker group after another."""
        from benchmark.engine.ray_train import group_stage, local_stage

        if self.resources.workers == 1:
            return self.run([task._replace(function=local_stage) for task in tasks])
        self.release()
        results = {}
        for task in tasks:
            self.monitor.start(task.key, task.label, task.work)
            grouped = task._replace(function=group_stage, arguments=(*task.arguments, self.resources, self.plugins))
            results[task.key] = execute(grouped, self.store, lambda *_: None)
            announce(self.monitor, task, results[task.key])
        return results

    def search(self, cells: Mapping[str, Any], searches: Sequence[Any]) -> dict[str, list[Any]]:
        """Runs all trials of all cells with one Tuner over the pool."""
        from tuners.search import run_search

        ray.get(self._board.set_cells.remote(cloudpickle.dumps(dict(cells))))
        scratch = self.store.scratch("tune", "search")
        stop = threading.Event()
        watcher = threading.Thread(target=self._watch, args=(stop,), daemon=True)
        workers = self.workers()
        watcher.start()
        try:
            return run_search(
                searches,
                workers,
                scratch=Path(scratch),
                progress=lambda result: announce_trial(self.monitor, cells, result),
            )
        finally:
            stop.set()
            watcher.join()
            self.store.clear_scratch("tune", "search")

    def _watch(self, stop: threading.Event) -> None:
        while not stop.wait(0.5):
            self._show_ticks()

    def _show_ticks(self) -> None:
        fresh: Any = ray.get(self._board.drain.remote())
        for key, (label, work, what, share) in fresh.items():
            self.monitor.tick(key, what, share, label=label, work=work)

    def environment(self) -> dict[str, Any]:
        """Versions, device and threads of the workers."""
        self.workers()
        return self._environment

    def release(self) -> None:
        """Ends the pool's actors, so that what they hold is free for a worker group."""
        for worker in self._workers:
            ray.kill(worker)
        self._workers = []

    def close(self) -> None:
        """Ends the pool and leaves the cluster; one that was started here ends too."""
        self.release()
        ray.shutdown()


def _result(task: Task, reference: Any) -> TaskResult:
    try:
        return ray.get(reference)
    except exceptions.OutOfMemoryError as error:
        return TaskResult(task.key, "out_of_memory", _line(error), 0.0)
    except exceptions.RayError as error:
        return TaskResult(task.key, "failed", _line(error), 0.0)


def _line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0] if lines else 'a worker died'}"
