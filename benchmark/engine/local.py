"""The executor of `--local`: one task after another in this process, for debugging and where there is no Ray."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from benchmark.config.time_limits import TimeLimits, limit_of
from benchmark.engine.deadline import deadline
from benchmark.engine.executor import (
    Finished,
    announce,
    announce_trial,
    search_result,
    trial_key,
    trial_label,
    trial_work,
)
from benchmark.engine.monitor import Monitor
from benchmark.engine.task import Task, execute
from benchmark.stages.common import Compute
from benchmark.stages.environment import environment
from benchmark.stages.node import Stage, Workplace
from benchmark.stages.trial import SearchCell
from benchmark.store.artifacts import Store
from tuners.queue import CellSearch, Searches, TrialReport
from tuners.search import run_locally


class LocalExecutor:
    """One slot. A trial runs when no task is left to start; it proposes what Ray Tune would."""

    def __init__(
        self,
        store: Store,
        monitor: Monitor,
        compute: Compute,
        *,
        threads: int | None = None,
        limits: TimeLimits | None = None,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        """`limits`: how long a task may take. `check` raises an interrupt that the code of a task swallowed."""
        if threads:  # torch is loaded for nothing where only stored tables are read
            import torch

            torch.set_num_threads(threads)
        self.store, self.monitor, self.compute, self._limits, self._check = store, monitor, compute, limits or {}, check
        self._ended: list[Finished] = []
        self._searches = Searches()
        self._open: dict[str, tuple[Task, SearchCell]] = {}

    def expect(self, stages: Sequence[Stage]) -> None:
        """There is one slot, whatever is ready."""

    def free(self, stage: Stage) -> bool:
        """Whether what ended last has been looked at: it may have made something more urgent ready."""
        return not self._ended

    def start(self, task: Task) -> None:
        """Runs a task to its end."""
        self.monitor.start(task.key, task.label, task.work)
        with deadline(limit_of(self._limits, task.stage.name)):
            result = execute(task, Workplace(self.store, self.compute, tick=partial(self._tick, task.key)))
        announce(self.monitor, task, result)
        self._ended.append((task, result))

    def _tick(self, key: str, what: str, share: float) -> None:
        self.monitor.tick(key, what, share)

    def open_search(self, task: Task, searched: SearchCell, search: CellSearch) -> None:
        """Takes in the search of a task's node."""
        self._searches.open(search)
        self._open[search.cell] = (task, searched)

    def close_searches(self) -> None:
        """Nothing waits for more of them here."""

    def ended(self) -> list[Finished]:
        """What has ended; where nothing has, the next trial is run."""
        self._check()
        if not self._ended:
            self._run_trial()
        found, self._ended = self._ended, []
        return found

    def _run_trial(self) -> None:
        proposal = self._searches.ask()
        if proposal is None:
            raise RuntimeError("the run waits for something that nothing makes")
        task, searched = self._open[proposal.cell]
        result = run_locally(proposal, partial(self._trial, searched))
        self._searches.tell(result)
        announce_trial(self.monitor, searched, result)
        state = self._searches.states[proposal.cell]
        if state.done:
            self._ended.append((task, search_result(self.store, searched, state.sorted_results())))

    def _trial(self, searched: SearchCell, config: dict[str, Any]) -> TrialReport:
        from benchmark.stages.run_trial import run_trial

        key = trial_key(config)
        self.monitor.start(key, trial_label(searched, config), trial_work(searched))
        with deadline(limit_of(self._limits, "defend")):
            return run_trial(self.store, searched, config, compute=self.compute, tick=partial(self._tick, key))

    def environment(self) -> dict[str, Any]:
        """Versions, device and threads."""
        return environment(self.compute)
