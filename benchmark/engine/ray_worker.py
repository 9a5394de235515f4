"""A warm Ray actor that runs tasks and trials. Nothing heavy at the top: Tune's own actors import this file too."""

from __future__ import annotations

import importlib
import pickle
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import ray

from benchmark.config.plugins import Plugin, load_plugin
from benchmark.engine.task import Task, TaskResult, execute
from benchmark.errors import is_sent_away
from benchmark.stages.node import Workplace

if TYPE_CHECKING:
    from benchmark.stages.common import Compute
    from benchmark.store.artifacts import Store


class SharedState:
    """What workers share: how far the running tasks are, the cells that are searched, and who works on which slot."""

    def __init__(self) -> None:
        self._fresh: dict[str, tuple[str, float, str, float]] = {}
        self._cells: dict[str, bytes] = {}
        self._workers: list[Any] = []

    def add_cell(self, key: str, cell: bytes) -> None:
        """Takes a searched cell, pickled: it is opened by workers alone, where plugins are loaded."""
        self._cells[key] = cell

    def cell(self, key: str) -> bytes:
        """A searched cell, pickled."""
        return self._cells[key]

    def set_workers(self, workers: list[Any]) -> None:
        """Takes the handles of a pool that was started."""
        self._workers = workers

    def worker(self, slot: int) -> Any:
        """The handle of a slot's worker."""
        return self._workers[slot]

    def tick(self, key: str, label: str, work: float, what: str, share: float) -> None:
        """Notes one task's progress."""
        self._fresh[key] = (label, work, what, share)

    def drain(self) -> dict[str, tuple[str, float, str, float]]:
        """What is new since the last call."""
        fresh, self._fresh = self._fresh, {}
        return fresh


class Pool:
    """Finds workers by slot, also after the pool was started anew; pickles."""

    def __init__(self, shared: Any) -> None:
        self._shared = shared

    def __getitem__(self, slot: int) -> Any:
        """The handle of a slot's worker."""
        return ray.get(self._shared.worker.remote(slot))


class Worker:
    """One slot of the pool: models and libraries stay loaded from task to task."""

    def __init__(self, store: Store, plugins: Sequence[Plugin], compute: Compute, threads: int, shared: str) -> None:
        for plugin in plugins:
            load_plugin(plugin)
        import torch

        importlib.import_module("open_clip")  # paid once per worker

        torch.set_num_threads(threads)
        self._store, self._compute, self._shared = store, compute, ray.get_actor(shared)
        self._cells: dict[str, Any] = {}

    def ready(self) -> dict[str, Any]:
        """Answers when the worker is warm, with its environment."""
        from benchmark.stages.environment import environment

        return environment(self._compute)

    def run(self, task: Task) -> TaskResult:
        """Runs one task."""
        tick = self._ticker(task.key, task.label, task.work)
        return execute(task, Workplace(self._store, self._compute, tick))

    def run_trial(self, config: Mapping[str, Any]) -> Any:
        """Runs one trial of a search."""
        from benchmark.engine.executor import trial_key, trial_label, trial_work
        from benchmark.stages.run_trial import run_trial
        from tuners.queue import failed

        cell = self._cell(config["cell"])
        tick = self._ticker(trial_key(config), trial_label(cell, config), trial_work(cell))
        tick("", 0.0)
        try:
            return run_trial(self._store, cell, config, compute=self._compute, tick=tick)
        except SystemExit as end:  # which would end this worker
            if is_sent_away(end):
                raise
            return failed(end)

    def _cell(self, key: str) -> Any:
        """A searched cell; fetched at its first trial, and by a worker that was restarted."""
        if key not in self._cells:
            pickled: Any = ray.get(self._shared.cell.remote(key))
            self._cells[key] = pickle.loads(pickled)
        return self._cells[key]

    def _ticker(self, key: str, label: str, work: float) -> Any:
        return lambda what, share: self._shared.tick.remote(key, label, work, what, share)
