"""A warm Ray actor that runs tasks and trials. Nothing heavy at the top: Tune's own actors import this file too."""

from __future__ import annotations

import importlib
import pickle
import platform
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import ray

from benchmark.config.plugins import Plugin, load_plugin
from benchmark.engine.ray_pulse import keep_beating
from benchmark.engine.shared_store import Marker, not_shared, what_is_wrong
from benchmark.engine.task import Task, TaskResult, execute
from benchmark.errors import is_sent_away
from benchmark.stages.node import Workplace

if TYPE_CHECKING:
    from benchmark.stages.cells import Cell
    from benchmark.stages.common import Compute
    from benchmark.stages.trial import SearchCell
    from benchmark.store.artifacts import Store


class Workers:
    """The workers of a run by slot, wherever they are; pickles, and needs nobody who would know them."""

    def __init__(self, run: str, searched: Any) -> None:
        """`searched` refers to the cells that may be searched, by key, pickled."""
        self._run, self._searched = run, searched

    def name(self, slot: int) -> str:
        """What Ray knows the worker of a slot by."""
        return f"{self._run}-{slot}"

    def run_trial(self, slot: int, config: Mapping[str, Any]) -> Any:
        """Sends a trial to the worker of a slot; a reference to its report."""
        # in a list it is a reference still, which a worker opens once
        return ray.get_actor(self.name(slot)).run_trial.remote(config, [self._searched])


class Worker:
    """One slot of the pool: models and libraries stay loaded from task to task."""

    def __init__(
        self,
        store: Store,
        plugins: Sequence[Plugin],
        compute: Compute,
        threads: int,
        slot: int,
        ticks: str,
        marker: Marker | None = None,
    ) -> None:
        """`ticks`: name of the actor that progress is told to; `marker`: what every node must find in the store."""
        self._ticks = ray.get_actor(ticks)
        keep_beating(lambda: self._ticks.beat.remote(slot))
        for plugin in plugins:
            load_plugin(plugin)
        import torch

        importlib.import_module("open_clip")  # paid once per worker

        torch.set_num_threads(threads)
        # a GPU that Ray gives may be pretended, or one that this torch cannot use
        device = "cuda" if ray.get_gpu_ids() and torch.cuda.is_available() else "cpu"
        self._store, self._compute = store, compute._replace(device=device)
        self._marker = marker
        self._cells: Mapping[str, Cell] = {}
        self._searched: dict[str, SearchCell] = {}

    def ready(self) -> dict[str, Any]:
        """Answers when the worker is warm, with its environment.

        Raises:
            UserError: its node does not see the store.
        """
        from benchmark.stages.environment import environment

        wrong = what_is_wrong(self._marker) if self._marker else None
        if wrong:
            raise not_shared(self._store, platform.node(), wrong)
        return environment(self._compute)

    def run(self, task: Task) -> TaskResult:
        """Runs one task."""
        tick = self._ticker(task.key, task.label, task.work)
        return execute(task, Workplace(self._store, self._compute, tick))

    def run_trial(self, config: Mapping[str, Any], searched: list[Any]) -> Any:
        """Runs one trial of a search; `searched` refers to the cells that may be searched."""
        from benchmark.engine.executor import trial_key, trial_label, trial_work
        from benchmark.stages.run_trial import run_trial
        from tuners.queue import failed

        cell = self._search_cell(config["cell"], searched)
        tick = self._ticker(trial_key(config), trial_label(cell, config), trial_work(cell))
        tick("", 0.0)
        try:
            return run_trial(self._store, cell, config, compute=self._compute, tick=tick)
        except SystemExit as end:  # which would end this worker
            if is_sent_away(end):
                raise
            return failed(end)

    def _search_cell(self, key: str, searched: list[Any]) -> SearchCell:
        """A searched cell with its validation numbers, read from the store at its first trial here."""
        from benchmark.stages.search import search_cell

        if not self._cells:  # the first trial, or a worker that came back; plugins are loaded
            (pickled,) = ray.get(searched)
            self._cells = pickle.loads(pickled)
        if key not in self._searched:
            self._searched[key] = search_cell(self._store, self._cells[key])
        return self._searched[key]

    def _ticker(self, key: str, label: str, work: float) -> Any:
        return lambda what, share: self._ticks.tick.remote(key, label, work, what, share)
