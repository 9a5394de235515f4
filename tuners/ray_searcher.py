"""Ray Tune's searcher over the searches of all cells: hands out trials and worker slots, takes in results."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from ray.tune import Stopper
from ray.tune.search.searcher import Searcher

from tuners.queue import CellSearch, Searches, TrialResult, failed
from tuners.slots import Slots

_MAX_LOST = 3
_MAX_AGAIN = 2  # how often a trial is run again whose worker was lost


class RoundSearcher(Searcher):
    """Suggests `{"cell", "trial", "round", "phase", "parameters", "slot"}` for any cell that has a trial ready.

    Searches may be opened while it serves; it waits for more until it is closed. A slot is a worker that nobody uses,
    so that the broker of slots is also the limit on concurrency.
    """

    def __init__(
        self,
        cells: Iterable[CellSearch] = (),
        *,
        slots: Slots,
        progress: Callable[[TrialResult], None] | None = None,
    ) -> None:
        super().__init__()
        self.searches = Searches(cells)
        self.closed = False  # no further search will be opened
        self.given_up = False  # the run ends before its searches
        self.slots = slots
        self._progress = progress
        self._running: dict[str, dict[str, Any]] = {}  # Tune's trial id -> config, until it lets its actor go
        self._told: set[str] = set()  # of these, the ones whose result is known and whose slot is free
        self._lost_workers = Counter[tuple[str, int]]()  # by cell and trial
        self._lost_in_a_row = 0  # trials whose Tune actor died, since the last one that gave a result
        self._lock = threading.RLock()  # searches are opened in another thread than Tune's

    def __getstate__(self) -> dict[str, Any]:
        """Tune pickles its searcher beside the run; what belongs to this process stays behind."""
        return {**self.__dict__, "_progress": None, "_lock": None, "slots": None}

    def open(self, cell: CellSearch) -> None:
        """Takes in a search."""
        with self._lock:
            self.searches.open(cell)

    @property
    def finished(self) -> bool:
        """Whether every trial has been taken and none will be added."""
        return self.closed and self.searches.exhausted

    @property
    def num_open(self) -> int:
        """Trials that could start now, had they slots."""
        with self._lock:
            return sum(state.num_open for state in self.searches.states.values())

    # Tune's own signature forgets FINISHED
    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """The next trial; None while there is no slot or no trial ready; FINISHED when all are taken."""
        with self._lock:
            if self.finished:
                return Searcher.FINISHED
            # more trials than slots would need actors of Tune's that take seconds to start
            if len(self._running) >= self.slots.count or not self._may_start:
                return None
            slot = self.slots.take()
            proposal = self.searches.ask() if slot is not None else None
            if proposal is None:  # a node was faster
                return None
            config = self._running[trial_id] = proposal.config() | {"slot": slot}
            return config

    @property
    def _may_start(self) -> bool:
        return bool(self.slots.idle and not self.slots.held and self.searches.ready)

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Takes in a final result, once, and frees the slot; the trial may still hold its actor of Tune's."""
        if trial_id not in self._told and result.get("final"):
            self._tell(trial_id, result)
            self._lost_in_a_row = 0

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """A trial has let its actor go; one that ends without a final result (the actor died) counts as failed."""
        if trial_id not in self._running:
            return
        if trial_id not in self._told:
            lost = error or not result or not result.get("final")
            self._tell(trial_id, failed(RuntimeError("its Ray Tune actor died")) if lost or not result else result)
            self._lost_in_a_row = self._lost_in_a_row + 1 if lost else 0
        self._told.discard(trial_id)
        self._running.pop(trial_id)

    @property
    def wants_actor(self) -> bool:
        """Whether a trial that has its result should let its actor go: another is ready, or there are no more."""
        with self._lock:
            return self.finished or self._may_start

    @property
    def hopeless(self) -> bool:
        """Whether to stop: one Tune actor after another died, which is no trial's fault, or the run is given up."""
        return self.given_up or self._lost_in_a_row >= _MAX_LOST

    def _tell(self, trial_id: str, result: Mapping[str, Any]) -> None:
        self._told.add(trial_id)
        config = self._running[trial_id]
        ended, place = TrialResult.of(config, result), (config["cell"], config["trial"])
        lost = bool(result.get("lost"))
        self._lost_workers[place] += lost
        again = lost and self._lost_workers[place] <= _MAX_AGAIN  # the worker's end says nothing of the trial
        with self._lock:
            if again:
                self.searches.give_back(*place)
            else:
                self.searches.tell(ended)
        (self.slots.lose if lost or ended.status == "timed_out" else self.slots.give)(config["slot"])
        if again:
            return
        if self._progress is not None:
            self._progress(ended)

    def save(self, checkpoint_path: str) -> None:
        """Writes the results as JSON; trials that run are not in it, so a restored searcher proposes them again."""
        rows = [result._asdict() for results in self.searches.results().values() for result in results]
        Path(checkpoint_path).write_text(json.dumps(rows), encoding="utf-8")

    def restore(self, checkpoint_path: str) -> None:
        """Reads what `save` wrote into a searcher that was made for the same cells."""
        rows = json.loads(Path(checkpoint_path).read_text(encoding="utf-8"))
        searches = [
            state.search._replace(finished=tuple(TrialResult(**row) for row in rows if row["cell"] == cell))
            for cell, state in self.searches.states.items()
        ]
        self.searches = Searches(searches)
        for trial_id, config in self._running.items():
            if trial_id not in self._told:
                self.slots.give(config["slot"])
        self._running, self._told = {}, set()


class StopWhenNeeded(Stopper):
    """Lets a trial that has its result hold its Tune actor until the next trial can use it."""

    def __init__(self, searcher: RoundSearcher) -> None:
        self._searcher = searcher

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Hands the result on at once, since it may open a round; says whether the trial may end."""
        self._searcher.on_trial_result(trial_id, result)
        return self._searcher.wants_actor

    def stop_all(self) -> bool:
        """Whether to give the run up; else the searcher ends it."""
        return self._searcher.hopeless
