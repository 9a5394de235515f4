"""A warm Ray actor that runs tasks and trials. Nothing heavy at the top: Tune's own actors import this file too."""

from __future__ import annotations

import importlib
import pickle
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import ray

from benchmark.config.plugins import Plugin, load_plugin
from benchmark.engine.task import Task, TaskResult, execute

if TYPE_CHECKING:
    from benchmark.stages.common import Compute
    from benchmark.store.artifacts import Store


class SharedState:
    """What workers share: how far the running tasks are, and the cells of the running search."""

    def __init__(self) -> None:
        self._fresh: dict[str, tuple[str, float, str, float]] = {}
        self._cells = b""

    def set_cells(self, cells: bytes) -> None:
        """Takes the searched cells, pickled: they are opened by workers alone, where plugins are loaded."""
        self._cells = cells

    def cells(self) -> bytes:
        """The searched cells, pickled."""
        return self._cells

    def tick(self, key: str, label: str, work: float, what: str, share: float) -> None:
        """Notes one task's progress."""
        self._fresh[key] = (label, work, what, share)

    def drain(self) -> dict[str, tuple[str, float, str, float]]:
        """What is new since the last call."""
        fresh, self._fresh = self._fresh, {}
        return fresh


class Worker:
    """One slot of the pool: models and libraries stay loaded from task to task."""

    def __init__(self, store: Store, plugins: Sequence[Plugin], compute: Compute, threads: int, board: str) -> None:
        for plugin in plugins:
            load_plugin(plugin)
        import torch

        importlib.import_module("open_clip")  # paid once per worker

        torch.set_num_threads(threads)
        self._store, self._compute, self._board = store, compute, ray.get_actor(board)
        self._cells: Mapping[str, Any] = {}

    def ready(self) -> dict[str, Any]:
        """Answers when the worker is warm, with its environment."""
        from benchmark.stages.environment import environment

        return environment(self._compute)

    def run(self, task: Task) -> TaskResult:
        """Runs one task."""
        return execute(task, self._store, self._ticker(task.key, task.label, task.work))

    def run_trial(self, config: Mapping[str, Any]) -> Any:
        """Runs one trial of a search."""
        from benchmark.engine.local import trial_key, trial_label, trial_work
        from benchmark.engine.trials import run_trial

        cell = self._cell(config["cell"])
        tick = self._ticker(trial_key(config), trial_label(cell, config), trial_work(cell))
        tick("", 0.0)
        return run_trial(self._store, cell, config, compute=self._compute, tick=tick)

    def _cell(self, key: str) -> Any:
        """A searched cell; fetched at the first trial of a search, and by a worker that was restarted."""
        if key not in self._cells:
            pickled: Any = ray.get(self._board.cells.remote())
            self._cells = pickle.loads(pickled)
        return self._cells[key]

    def _ticker(self, key: str, label: str, work: float) -> Any:
        return lambda what, share: self._board.tick.remote(key, label, work, what, share)
