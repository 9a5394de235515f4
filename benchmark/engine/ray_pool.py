"""Runs tasks on a pool of warm Ray actors, searches through one Ray Tune `Tuner`, pre-training through Ray Train."""

from __future__ import annotations

import contextlib
import os
import platform
import queue
import threading
import uuid
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cloudpickle
import ray
from ray import exceptions

from benchmark.config.compute_options import ComputeOptions
from benchmark.config.plugins import Plugin
from benchmark.engine.executor import Finished, announce, announce_trial, search_result
from benchmark.engine.interrupt import Interrupt
from benchmark.engine.monitor import Monitor
from benchmark.engine.ray_cluster import check_slot, connect
from benchmark.engine.ray_worker import Pool, SharedState, Worker
from benchmark.engine.task import Task, TaskResult, execute
from benchmark.errors import UserError, is_sent_away, reason_of, status_of
from benchmark.stages.common import Compute
from benchmark.stages.node import Stage, Workplace
from benchmark.stages.pretrain import Pretrain
from benchmark.stages.trial import SearchCell
from benchmark.store.artifacts import Store
from tuners.queue import CellSearch, TrialResult
from tuners.slots import Slots

if TYPE_CHECKING:
    from tuners.ray_searcher import RoundSearcher

LEAVE_S = 5.0  # how long Tune may take to end when a run is given up
WAIT_S = 0.5  # how long to wait for something to end, before an interrupt is looked for


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
        _connect(resources)
        interrupt.listen()  # Ray takes SIGTERM, and ends in a dump of its own where workers are at work
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
        self._slots = Slots(resources.concurrency or self._natural_slots())
        self._shared_name = f"backstop-{uuid.uuid4().hex}"
        self._shared: Any = ray.remote(SharedState).options(num_cpus=0, name=self._shared_name).remote()
        self._workers: list[Any] = []
        self._running: dict[Any, tuple[Task, int]] = {}
        self._searched: dict[str, tuple[Task, SearchCell]] = {}
        self._searcher: RoundSearcher | None = None
        self._tuner: threading.Thread | None = None
        self._tune_settings = contextlib.ExitStack()
        self._events: queue.SimpleQueue[Any] = queue.SimpleQueue()  # a reference, a finished task, or what ended Tune
        self._environment: dict[str, Any] = {}

    def _natural_slots(self) -> int:
        if self._gpus:
            return max(1, int(self._gpus / (self.resources.gpus_per_slot or 1.0)))
        return max(1, int(self._cpus / (self.resources.cpus_per_slot or 1.0)))

    def workers(self) -> list[Any]:
        """The pool; started at the first call, warm afterwards. A worker that dies comes back under its handle."""
        if not self._workers:
            cpus = self.resources.cpus_per_slot or max(1.0, self._cpus // self._slots.count)
            gpus = (self.resources.gpus_per_slot or 1.0) if self._gpus else 0.0
            actor = ray.remote(Worker).options(
                num_cpus=min(cpus, self._cpus / self._slots.count),
                num_gpus=gpus,
                max_restarts=-1,
                max_task_retries=self.resources.max_failures,
            )
            threads = self._threads or max(1, int(cpus))
            arguments = (self.store, self.plugins, self.compute, threads, self._shared_name)
            self._workers = [actor.remote(*arguments) for _ in range(self._slots.count)]
            ray.get(self._shared.set_workers.remote(self._workers))
            self._environment = ray.get([worker.ready.remote() for worker in self._workers])[0]
        return self._workers

    def free(self, stage: Stage) -> bool:
        """Whether a slot is free; for a group of workers, all of them, since it needs what they hold."""
        enough = self._slots.count if self._in_group(stage) else 1
        # what is ready goes before trials, which may wait for it
        self._slots.held = self._slots.idle < enough
        return not self._slots.held

    def _in_group(self, stage: Stage) -> bool:
        return self.resources.workers > 1 and isinstance(stage, Pretrain)

    def start(self, task: Task) -> None:
        """Gives a task to a free worker. A worker group is waited for: it needs the whole machine."""
        from benchmark.engine.ray_train import GroupTraining, LocalTraining

        if self._in_group(task.stage):
            self._run_group(_under(task, GroupTraining(self.resources, self.plugins)), task)
            return
        slot = self._slots.take()
        assert slot is not None
        self.monitor.start(task.key, task.label, task.work)
        sent = _under(task, LocalTraining()) if isinstance(task.stage, Pretrain) else task
        reference = self.workers()[slot].run.remote(sent)
        self._running[reference] = (task, slot)
        reference.future().add_done_callback(lambda _: self._events.put(reference))

    def _run_group(self, grouped: Task, task: Task) -> None:
        taken = [self._slots.take() for _ in range(self._slots.count)]
        self.release()
        self.monitor.start(task.key, task.label, task.work)
        result = execute(grouped, Workplace(self.store, self.compute))
        announce(self.monitor, task, result)
        if self._searcher and not self._searcher.finished:
            self.workers()  # before a trial may ask for one
        for slot in taken:
            if slot is not None:
                self._slots.give(slot)
        self._events.put((task, result))

    def open_search(self, task: Task, searched: SearchCell, search: CellSearch) -> None:
        """Hands a search to the one Tuner, which runs in a thread from the first search to the last."""
        self._searched[search.cell] = (task, searched)
        ray.get(self._shared.add_cell.remote(search.cell, cloudpickle.dumps(searched)))
        self.workers()
        if self._searcher is None or self._searcher.closed:
            from tuners.ray_searcher import RoundSearcher
            from tuners.search import tune_environment

            # here, not in its thread: what a task does to the environment is put back, and would be at any moment
            self._tune_settings.enter_context(tune_environment(self._slots.count))
            self._searcher = RoundSearcher(slots=self._slots, progress=self._tell_trial)
            self._tuner = threading.Thread(target=self._tune, args=(self._searcher,), daemon=True)
            self._tuner.start()
        self._searcher.open(search)

    def close_searches(self) -> None:
        """Lets the Tuner end when its trials have."""
        if self._searcher:
            self._searcher.closed = True

    def _tune(self, searcher: RoundSearcher) -> None:
        from tuners.search import serve

        mine = f"{platform.node()}-{os.getpid()}"  # another driver's Tuner may serve the same store
        try:
            serve(searcher, Pool(self._shared), scratch=Path(self.store.scratch("tune", mine)))
        except BaseException as error:  # for the thread that waits, which alone can stop the run
            self._events.put(error)
        finally:
            self.store.clear_scratch("tune", mine)

    def _tell_trial(self, result: TrialResult) -> None:
        task, searched = self._searched[result.cell]
        announce_trial(self.monitor, searched, result)
        assert self._searcher is not None
        state = self._searcher.searches.states[result.cell]
        if state.done:
            self._events.put((task, search_result(self.store, searched, state.sorted_results())))

    def ended(self) -> list[Finished]:
        """What has ended since the last call; waits for half a second at most."""
        self._interrupt.check()
        self._show_ticks()
        found: list[Finished] = []
        with contextlib.suppress(queue.Empty):
            found.append(self._taken_in(self._events.get(timeout=WAIT_S)))
            while True:
                found.append(self._taken_in(self._events.get_nowait()))
        return found

    def _taken_in(self, event: Any) -> Finished:
        if isinstance(event, BaseException):
            raise event
        if isinstance(event, tuple):
            return event
        task, slot = self._running.pop(event)
        result = _result(event)
        self._slots.give(slot)
        announce(self.monitor, task, result)
        return task, result

    def _show_ticks(self) -> None:
        fresh: Any = ray.get(self._shared.drain.remote())
        for key, (label, work, what, share) in fresh.items():
            self.monitor.tick(key, what, share, label=label, work=work)

    def environment(self) -> dict[str, Any]:
        """Versions, device and threads of the workers."""
        if not self._environment:  # a pool that made room for a group is not started again for this
            self.workers()
        return self._environment

    def release(self) -> None:
        """Ends the pool's actors, so that what they hold is free for a worker group."""
        for worker in self._workers:
            ray.kill(worker)
        self._workers = []

    def close(self) -> None:
        """Ends the pool and leaves the cluster; one that was started here ends too."""
        if self._searcher:
            self._searcher.given_up = True
        self.release()
        if self._tuner:
            self._tuner.join(LEAVE_S)
        self._tune_settings.close()
        ray.shutdown()


def _connect(resources: ComputeOptions) -> None:
    """Joins or starts Ray; told to end meanwhile, by a handler that Ray sets before it is ready, it is interrupted."""
    try:
        connect(resources)
    except SystemExit as error:
        if is_sent_away(error):
            raise KeyboardInterrupt from None
        raise


def _under(task: Task, stage: Stage) -> Task:
    """The task with its nodes run in another way."""
    return Task(tuple(replace(node, stage=stage) for node in task.nodes))


def _result(reference: Any) -> TaskResult:
    try:
        return ray.get(reference)
    except exceptions.RayError as error:  # the worker died
        return TaskResult(status_of(error), reason_of(error))
