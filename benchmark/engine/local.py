"""Where tasks run. This file holds the contract and the in-process executor; `ray_executor` holds the other one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Protocol

from benchmark.engine.monitor import Monitor
from benchmark.engine.plan import repair_work
from benchmark.engine.task import Task, TaskResult, execute
from benchmark.stages.common import Compute
from benchmark.stages.environment import environment
from benchmark.store.artifacts import Store


class Executor(Protocol):
    """Runs independent tasks, and the searches of all cells."""

    compute: Compute
    slots: int  # tasks at once

    def run(self, tasks: Sequence[Task]) -> dict[str, TaskResult]:
        """Runs tasks in any order, several at once where it can; nothing raises."""
        ...

    def pretrain(self, tasks: Sequence[Task]) -> dict[str, TaskResult]:
        """Runs pre-training tasks, through Ray Train where there is Ray."""
        ...

    def search(self, cells: Mapping[str, Any], searches: Sequence[Any]) -> dict[str, list[Any]]:
        """Runs the searches; `cells` maps a search's cell to its `benchmark.engine.trials.SearchCell`."""
        ...

    def environment(self) -> dict[str, Any]:
        """Versions, device and threads, for the records."""
        ...


class LocalExecutor:
    """One task after another in this process: for debugging, and where there is no Ray."""

    slots = 1

    def __init__(self, store: Store, monitor: Monitor, compute: Compute, *, threads: int | None = None) -> None:
        import torch

        if threads:
            torch.set_num_threads(threads)
        self.store, self.monitor, self.compute = store, monitor, compute

    def run(self, tasks: Sequence[Task]) -> dict[str, TaskResult]:
        """Runs tasks in the given order."""
        results = {}
        for task in tasks:
            self.monitor.start(task.key, task.label, task.work)
            results[task.key] = execute(task, self.store, partial(self._tick, task.key))
            announce(self.monitor, task, results[task.key])
        return results

    def _tick(self, key: str, what: str, share: float) -> None:
        self.monitor.tick(key, what, share)

    def pretrain(self, tasks: Sequence[Task]) -> dict[str, TaskResult]:
        """Pre-trains in this process, without Ray Train."""
        return self.run(tasks)

    def search(self, cells: Mapping[str, Any], searches: Sequence[Any]) -> dict[str, list[Any]]:
        """Runs all trials one after another; proposes what Ray Tune would."""
        from benchmark.engine.trials import run_trial
        from tuners.search import run_search_locally

        def trial(config: dict[str, Any]) -> Any:
            cell = cells[config["cell"]]
            key = trial_key(config)
            self.monitor.start(key, trial_label(cell, config), trial_work(cell))
            return run_trial(self.store, cell, config, compute=self.compute, tick=partial(self._tick, key))

        return run_search_locally(searches, trial, progress=lambda result: announce_trial(self.monitor, cells, result))

    def environment(self) -> dict[str, Any]:
        """Versions, device and threads."""
        return environment(self.compute)


def announce(monitor: Monitor, task: Task, result: TaskResult) -> None:
    """Tells the monitor that a task has ended."""
    monitor.finish(task.key, task.label, task.work, status=result.status, reason=result.reason, wall_s=result.wall_s)


def announce_trial(monitor: Monitor, cells: Mapping[str, Any], result: Any) -> None:
    """Tells the monitor that a trial has ended."""
    cell, config = cells[result.cell], result._asdict()
    measured = "" if result.asr is None else f"  CA {result.accuracy:.2f}  ASR {result.asr:.2f}"
    monitor.finish(
        trial_key(config),
        trial_label(cell, config, measured=measured),
        trial_work(cell),
        status=result.status,
        reason=result.reason,
        wall_s=result.wall_s,
    )


def trial_key(config: Mapping[str, Any]) -> str:
    """Names a running trial for the monitor."""
    return f"{config['cell']}-{config['trial']}"


def trial_label(cell: Any, config: Mapping[str, Any], *, measured: str = "") -> str:
    """What the monitor prints for a trial; its values stand last, since they are what a narrow terminal cuts off."""
    values = ", ".join(
        f"{name}={value:.3g}" if isinstance(value, float) else f"{name}={value}"
        for name, value in config["parameters"].items()
    )
    return f"{cell_label(cell.cell.experiment)} · trial {config['trial']}{measured}  {values or 'its defaults'}"


def cell_label(experiment: Any) -> str:
    """Short name of a cell: objective · attack · repair · seed."""
    attack = experiment.attack.name if experiment.attack else "clean"
    defense = experiment.repair or experiment.detector
    repair = f" · {defense.name}" if defense else ""
    seed = f" · seed {experiment.seed}" if experiment.seed else ""
    return f"{experiment.objective.name} · {attack}{repair}{seed}"


def trial_work(cell: Any) -> float:
    """Forward views of images of one trial, roughly."""
    return repair_work(cell.cell.experiment)
