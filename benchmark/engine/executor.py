"""Where tasks run: the contract of the executors, and what they tell of tasks and trials."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from benchmark.engine.monitor import Monitor
from benchmark.engine.task import Task, TaskResult, no_space
from benchmark.errors import tells_lost_store, tells_no_space
from benchmark.stages.defend import repair_work
from benchmark.stages.label import cell_label
from benchmark.stages.node import Stage
from benchmark.stages.trial import SearchCell
from benchmark.store.artifacts import Store
from tuners.queue import CellSearch, TrialResult

Finished = tuple[Task, TaskResult]


class Executor(Protocol):
    """Runs tasks on its slots, and the trials of open searches on the same slots when no task wants one."""

    def expect(self, stages: Sequence[Stage]) -> None:
        """Told what is ready to start, one stage for each task, before any of it is started."""
        ...

    def free(self, stage: Stage) -> bool:
        """Whether a task of this stage may start now; where not, trials stand back until it could."""
        ...

    def start(self, task: Task) -> None:
        """Starts a task; it raises nothing."""
        ...

    def open_search(self, task: Task, searched: SearchCell, search: CellSearch) -> None:
        """Takes in the search of a task's node."""
        ...

    def close_searches(self) -> None:
        """No further search will be opened."""
        ...

    def ended(self) -> list[Finished]:
        """Waits a little for something to end. A search ends with `searched` and `results` among its facts."""
        ...

    def environment(self) -> dict[str, Any]:
        """Versions, device and threads, for the records."""
        ...


def search_result(store: Store, searched: SearchCell, results: list[TrialResult]) -> TaskResult:
    """How a search has ended."""
    seconds = sum(result.wall_s for result in results)
    if any(tells_no_space(result.reason) for result in results):  # such trials say nothing about the repair
        return TaskResult("failed", no_space(store), seconds, user_error=True)
    lost = next((result.reason for result in results if tells_lost_store(result.reason)), None)
    if lost:
        return TaskResult("failed", lost.partition(": ")[2], seconds, user_error=True)
    return TaskResult("ok", "", seconds, {"searched": searched, "results": results})


def announce(monitor: Monitor, task: Task, result: TaskResult) -> None:
    """Tells the monitor that a task has ended."""
    monitor.finish(
        task.key,
        task.label,
        task.work,
        status=result.status,
        reason=result.reason,
        wall_s=result.wall_s,
        count=len(task.nodes),
        brief=task.stage.name == "evaluate",
    )


def announce_trial(monitor: Monitor, searched: SearchCell, result: TrialResult) -> None:
    """Tells the monitor that a trial has ended."""
    config = result._asdict()
    measured = "" if result.asr is None else f"  CA {result.accuracy:.2f}  ASR {result.asr:.2f}"
    monitor.finish(
        trial_key(config),
        trial_label(searched, config, measured=measured),
        trial_work(searched),
        status=result.status,
        reason=result.reason,
        wall_s=result.wall_s,
        count=0,
    )


def trial_key(config: Mapping[str, Any]) -> str:
    """Names a running trial for the monitor."""
    return f"{config['cell']}-{config['trial']}"


def trial_label(searched: SearchCell, config: Mapping[str, Any], *, measured: str = "") -> str:
    """What the monitor prints for a trial; its values stand last, since they are what a narrow terminal cuts off."""
    values = ", ".join(
        f"{name}={value:.3g}" if isinstance(value, float) else f"{name}={value}"
        for name, value in config["parameters"].items()
    )
    label = cell_label(searched.cell.experiment)
    return f"{label} · trial {config['trial']}{measured}  {values or 'its defaults'}"


def trial_work(searched: SearchCell) -> float:
    """Forward views of images of one trial, roughly."""
    return repair_work(searched.cell.experiment)
