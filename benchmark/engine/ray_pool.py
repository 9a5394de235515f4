"""Runs tasks on a pool of warm Ray actors, searches through one Ray Tune `Tuner`, pre-training through Ray Train."""

from __future__ import annotations

import contextlib
import math
import queue
import time
import uuid
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import cloudpickle
import ray
from ray import exceptions
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from benchmark.config.compute_options import ComputeOptions
from benchmark.config.plugins import Plugin
from benchmark.config.time_limits import limit_of, too_long
from benchmark.engine.executor import Finished, announce
from benchmark.engine.interrupt import Interrupt
from benchmark.engine.monitor import Monitor
from benchmark.engine.ray_cluster import connect
from benchmark.engine.ray_pulse import Pulse
from benchmark.engine.ray_searches import RaySearches
from benchmark.engine.ray_slots import Shape
from benchmark.engine.ray_ticks import TickReader, Ticks
from benchmark.engine.ray_worker import Worker, Workers
from benchmark.engine.ray_workers import Ready, WorkerPool
from benchmark.engine.shared_store import check_shared, marked
from benchmark.engine.task import Task, TaskResult
from benchmark.errors import reason_of, status_of
from benchmark.stages.cells import Cell
from benchmark.stages.common import Compute
from benchmark.stages.node import Stage
from benchmark.stages.pretrain import Pretrain
from benchmark.stages.trial import SearchCell
from benchmark.store.artifacts import Store
from tuners.queue import CellSearch

WAIT_S = 0.5  # how long to wait for something to end, before an interrupt is looked for


class _Running(NamedTuple):
    """A task that was sent away."""

    task: Task
    slot: int | None  # None: a worker group's
    slots: int = 1  # that it takes the place of
    began: float = 0.0
    again: int = 0  # how often it was sent before, to a worker that was lost


class RayExecutor:
    """Slots of the cluster as warm workers: whole or fractional GPUs where there are any, else CPUs.

    Nodes, trials and worker groups take them from one broker.
    """

    def __init__(
        self,
        store: Store,
        monitor: Monitor,
        resources: ComputeOptions,
        plugins: Sequence[Plugin],
        interrupt: Interrupt,
        *,
        cells: Sequence[Cell] = (),
        threads: int | None = None,
    ) -> None:
        """`cells`: those of the run. `threads` of torch in a slot; None: as many as it has CPUs."""
        own = connect(resources)
        interrupt.listen()  # Ray takes SIGTERM, and ends in a dump of its own where workers are at work
        self.store, self.monitor, self.resources, self.plugins = store, monitor, resources, tuple(plugins)
        self._interrupt, self._threads = interrupt, threads
        self._compute = Compute("cpu", resources.micro_batch, resources.checkpoint_epochs)  # workers find their device
        self._events: queue.SimpleQueue[Any] = queue.SimpleQueue()  # see `_take_in`
        self._stack = contextlib.ExitStack()
        try:
            self.pool = WorkerPool(resources, own=own, make=self._worker, tell=self._events.put, say=monitor.say)
            self._marker = None if own else self._stack.enter_context(marked(store))
            if not own:
                check_shared(store)
        except BaseException:
            self._stack.close()
            ray.shutdown()
            raise
        self._slots = self.pool.slots
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        self._beside = {"num_cpus": 0, "scheduling_strategy": here}  # options of what stays with the driver
        run = f"backstop-{uuid.uuid4().hex}"
        self._ticks_name = f"{run}-ticks"
        self._ticks: Any = ray.remote(Ticks).options(name=self._ticks_name, max_restarts=-1, **self._beside).remote()
        self._reader, self._pulse = TickReader(self._ticks), Pulse()
        searched = {cell.keys.record: cell for cell in cells if cell.experiment.search}
        self._workers = Workers(run, ray.put(cloudpickle.dumps(searched)))
        limit_s = limit_of(resources.time_limits, "defend")
        self._searches = RaySearches(store, monitor, self._slots, self._workers, self._events.put, limit_s=limit_s)
        self._running: dict[Any, _Running] = {}
        self._again: list[_Running] = []  # whose worker was lost, and that wait for another
        self._waiting, self._groups = 1, 0  # tasks that are ready: for one slot, for a worker group
        self._ended: list[Finished] = []

    def _worker(self, slot: int, shape: Shape) -> Any:
        actor = ray.remote(Worker).options(
            name=self._workers.name(slot),
            num_cpus=shape.cpus,
            num_gpus=shape.gpus,
        )
        threads = self._threads or shape.threads
        return actor.remote(self.store, self.plugins, self._compute, threads, slot, self._ticks_name, self._marker)

    def expect(self, stages: Sequence[Stage]) -> None:
        """Takes in what is ready to start, by stage; has the pool grow, or give back what rests."""
        while self._again and self._slots.idle:
            task, *_, again = self._again.pop(0)
            self.start(task, again=again + 1)
        self._groups = sum(map(self._in_group, stages))
        self._waiting = len(stages) - self._groups + len(self._again)
        self._scale()

    def _scale(self) -> None:
        busy = self._slots.count - self._slots.idle
        trials = self._searches.num_open
        # warm workers would be ended again for the group that is ready
        grow = not self._groups or (self._waiting > 0 and not self._slots.count)
        self.pool.scale(busy + self._lent + self._waiting + trials, lent=self._lent, grow=grow)

    @property
    def _lent(self) -> int:
        """Slots whose place worker groups have taken."""
        return sum(item.slots for item in self._running.values() if item.slot is None)

    def _in_group(self, stage: Stage) -> bool:
        return self.resources.workers > 1 and isinstance(stage, Pretrain)

    @property
    def _group_slots(self) -> int:
        """How many slots a worker group takes: one for each of its workers, as far as there are so many."""
        return min(self.resources.workers, self.pool.shape.most)

    def free(self, stage: Stage) -> bool:
        """Whether there are slots for a task of this stage; a group needs no workers in them."""
        room, enough = (self.pool.room(self._lent), self._group_slots) if self._in_group(stage) else (0, 1)
        # what is ready goes before trials, which may wait for it
        self._slots.held = self._slots.idle + room < enough
        return not self._slots.held

    def start(self, task: Task, *, again: int = 0) -> None:
        """Gives a task to a free worker, or to a group in the place of several; `again`: times it was sent before."""
        from benchmark.engine.ray_train import LocalTraining

        self.monitor.start(task.key, task.label, task.work)
        if self._in_group(task.stage):
            reference, running = self._start_group(task)
        else:
            slot = self._slots.take()
            assert slot is not None
            sent = _under(task, LocalTraining()) if isinstance(task.stage, Pretrain) else task
            reference, running = self.pool.handle(slot).run.remote(sent), _Running(task, slot, again=again)
        self._running[reference] = running._replace(began=time.monotonic())
        reference.future().add_done_callback(lambda _: self._events.put(reference))

    def _start_group(self, task: Task) -> tuple[Any, _Running]:
        """Ends workers where the group would find no room, and starts it beside the driver."""
        from benchmark.engine.ray_train import GroupTraining, run_group

        count = self._group_slots
        for _ in range(count - self.pool.room(self._lent)):
            slot = self._slots.take()
            assert slot is not None  # `free` has counted them, and trials are held meanwhile
            self.pool.end(slot)
        shape, options = self.pool.shape, self.resources
        share = count / options.workers  # below 1 where a group has more workers than there are slots
        gpus = shape.gpus * share if self.pool.environment["device"] != "cpu" else 0.0
        stage = GroupTraining(options, self.plugins, cpus=shape.cpus * share, gpus=gpus)
        remote: Any = ray.remote(run_group).options(max_retries=options.max_failures, **self._beside)
        return remote.remote(_under(task, stage), self.store, self._compute, self._ticks), _Running(task, None, count)

    def open_search(self, task: Task, searched: SearchCell, search: CellSearch) -> None:
        """Hands a search to the one Tuner, which runs in a thread from the first search to the last."""
        self._searches.open(task, searched, search, most=self.pool.shape.most)

    def close_searches(self) -> None:
        """Lets the Tuner end when its trials have."""
        self._searches.close()

    def ended(self) -> list[Finished]:
        """What has ended since the last call; waits for half a second at most."""
        self._interrupt.check()
        self._listen()
        self._end_late()
        if not self._ended:
            self._wait()
        found, self._ended = self._ended, []
        return found

    def _listen(self) -> None:
        """Shows what workers tell, and ends those that tell nothing: what they had is lost, and sent to others."""
        told = self._reader.fresh()
        if told is None:
            return
        for key, (label, work, what, share) in told.ticks.items():
            self.monitor.tick(key, what, share, label=label, work=work)
        for slot in self._pulse.silent(told.beats, self.pool.there):
            self.monitor.say("a worker does not answer: it is ended, and what it did is sent to another one")
            self.pool.end(slot)

    def _wait(self) -> None:
        with contextlib.suppress(queue.Empty):
            self._take_in(self._events.get(timeout=WAIT_S))
            while True:
                self._take_in(self._events.get_nowait())

    def _take_in(self, event: Any) -> None:
        """A worker that is ready, what ended Tune, how a search ended, or the reference of a finished task."""
        if isinstance(event, BaseException):
            raise event
        if isinstance(event, Ready):
            self.pool.take_in(event)
        elif isinstance(event, tuple):
            self._ended.append(event)
        elif event in self._running:  # else it was given up before
            result, lost = _result(event)
            running = self._running[event]
            if lost and running.slot is not None:
                self.pool.end(running.slot)
                if running.again < self.resources.max_failures:  # a lost node says nothing of the task
                    self._again.append(self._running.pop(event))
                    return
            self._end(event, result)

    def _end(self, reference: Any, result: TaskResult) -> None:
        task, slot, *_ = self._running.pop(reference)
        if slot is not None:
            self._slots.give(slot)
        announce(self.monitor, task, result)
        self._ended.append((task, result))

    def _end_late(self) -> None:
        """Gives up what takes longer than its stage may; its worker goes with it, since nothing else stops it."""
        for reference, running in list(self._running.items()):
            spent = time.monotonic() - running.began
            limit = limit_of(self.resources.time_limits, running.task.stage.name) or math.inf
            if spent < limit:
                continue
            if running.slot is None:
                ray.cancel(reference, force=True)
            else:
                self.pool.end(running.slot)
            self._end(reference, TaskResult("timed_out", too_long(limit), spent))

    def environment(self) -> dict[str, Any]:
        """Versions, device and threads of the workers; waits for the first of them."""
        while not self.pool.environment:
            self._interrupt.check()
            self._scale()
            self._listen()
            self._wait()
        return self.pool.environment

    def close(self) -> None:
        """Ends the pool and leaves the cluster; one that was started here ends too."""
        self._searches.give_up()
        self.pool.close()
        self._searches.join()
        self._stack.close()
        ray.shutdown()


def _under(task: Task, stage: Stage) -> Task:
    """The task with its nodes run in another way."""
    return Task(tuple(replace(node, stage=stage) for node in task.nodes))


def _result(reference: Any) -> tuple[TaskResult, bool]:
    """How a task ended, and whether its worker was lost; what goes wrong in the task itself is part of its result."""
    try:
        return ray.get(reference), False
    except exceptions.RayError as error:
        return TaskResult(status_of(error), reason_of(error)), not isinstance(error, exceptions.RayTaskError)
