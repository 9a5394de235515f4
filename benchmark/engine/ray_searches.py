"""All searches of a run on Ray: one Tuner, in a thread from the first search that opens to the last that ends."""

from __future__ import annotations

import contextlib
import os
import platform
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark.engine.executor import announce_trial, search_result
from benchmark.engine.monitor import Monitor
from benchmark.engine.task import Task
from benchmark.stages.trial import SearchCell
from benchmark.store.artifacts import Store
from tuners.queue import CellSearch, TrialResult
from tuners.slots import Slots

if TYPE_CHECKING:
    from tuners.ray_searcher import RoundSearcher
    from tuners.search import Workers

LEAVE_S = 5.0  # how long Tune may take to end when a run is given up


class RaySearches:
    """Trials take slots from the broker that nodes take them from."""

    def __init__(
        self,
        store: Store,
        monitor: Monitor,
        slots: Slots,
        workers: Workers,
        tell: Callable[[Any], None],
        *,
        limit_s: float | None,
    ) -> None:
        """`tell` gets (task, result) of a search that has ended, or the exception that ended Tune; in its thread."""
        self._store, self._monitor, self._slots, self._workers = store, monitor, slots, workers
        self._tell, self._limit_s = tell, limit_s
        self._searched: dict[str, tuple[Task, SearchCell]] = {}
        self._searcher: RoundSearcher | None = None
        self._tuner: threading.Thread | None = None
        self._settings = contextlib.ExitStack()

    @property
    def num_open(self) -> int:
        """Trials that could start now, had they slots."""
        return self._searcher.num_open if self._searcher else 0

    def open(self, task: Task, searched: SearchCell, search: CellSearch, *, most: int) -> None:
        """Takes in a search; `most`: slots that there may be."""
        self._searched[search.cell] = (task, searched)
        if self._searcher is None or self._searcher.closed:
            from tuners.ray_searcher import RoundSearcher
            from tuners.search import tune_environment

            # here, not in its thread: what a task does to the environment is put back, and would be at any moment
            self._settings.enter_context(tune_environment(most))
            self._searcher = RoundSearcher(slots=self._slots, progress=self._tell_trial)
            self._tuner = threading.Thread(target=self._tune, args=(self._searcher,), daemon=True)
            self._tuner.start()
        self._searcher.open(search)

    def close(self) -> None:
        """No further search will be opened: lets the Tuner end when its trials have."""
        if self._searcher:
            self._searcher.closed = True

    def give_up(self) -> None:
        """Has the Tuner end, whatever is left."""
        if self._searcher:
            self._searcher.given_up = True

    def join(self) -> None:
        """Waits a little for the Tuner to end."""
        if self._tuner:
            self._tuner.join(LEAVE_S)
        self._settings.close()

    def _tune(self, searcher: RoundSearcher) -> None:
        from tuners.search import serve

        mine = f"{platform.node()}-{os.getpid()}"  # another driver's Tuner may serve the same store
        try:
            scratch = Path(self._store.scratch("tune", mine))
            serve(searcher, self._workers, scratch=scratch, limit_s=self._limit_s)
        except BaseException as error:  # for the thread that waits, which alone can stop the run
            self._tell(error)
        finally:
            self._store.clear_scratch("tune", mine)

    def _tell_trial(self, result: TrialResult) -> None:
        task, searched = self._searched[result.cell]
        announce_trial(self._monitor, searched, result)
        assert self._searcher is not None
        state = self._searcher.searches.states[result.cell]
        if state.done:
            self._tell((task, search_result(self._store, searched, state.sorted_results())))
