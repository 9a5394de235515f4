"""Ray Tune's searcher over the searches of all cells: hands out trials and worker slots, takes in results."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ray.tune import Stopper
from ray.tune.search.searcher import Searcher

from tuners.queue import CellSearch, Proposal, Searches, TrialResult, failed

_MAX_LOST = 3


class RoundSearcher(Searcher):
    """Suggests `{"cell", "trial", "round", "phase", "parameters", "slot"}` for any cell that has a trial ready.

    A slot is the index of a worker that nobody uses, so the searcher is also the limit on concurrency. A trial goes
    to the worker that last ran the same cell where that one is free: its models are warm there.
    """

    def __init__(
        self, cells: Sequence[CellSearch], *, num_slots: int, progress: Callable[[TrialResult], None] | None = None
    ) -> None:
        super().__init__()
        self.searches = Searches(cells)
        self._progress = progress
        self._free = list(range(num_slots))
        self._last_cell: dict[int, str] = {}
        self._running: dict[str, dict[str, Any]] = {}  # Tune's trial id -> config, until its slot is free
        self._told: set[str] = set()  # of these, the ones whose result is known
        self._lost_in_a_row = 0  # trials whose Tune actor died, since the last one that gave a result

    def __getstate__(self) -> dict[str, Any]:
        """Tune pickles its searcher beside the run; a progress display holds locks and stays behind."""
        return {**self.__dict__, "_progress": None}

    # Tune's own signature forgets FINISHED
    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """The next trial; None while every worker is busy or every open round is out; FINISHED when all are taken."""
        if self.searches.exhausted:
            return Searcher.FINISHED
        proposal = self.searches.ask() if self._free else None
        if proposal is None:
            return None
        config = proposal.config() | {"slot": self._slot(proposal)}
        self._running[trial_id] = config
        return config

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Takes in a final result, once. The slot stays taken until the trial lets its actor go."""
        if trial_id not in self._told and result.get("final"):
            self._tell(trial_id, result)
            self._lost_in_a_row = 0

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Frees the slot. A trial that ends without a final result (its Tune actor died) counts as failed."""
        if trial_id not in self._running:
            return
        if trial_id not in self._told:
            lost = error or not result or not result.get("final")
            self._tell(trial_id, failed(RuntimeError("its Ray Tune actor died")) if lost or not result else result)
            self._lost_in_a_row = self._lost_in_a_row + 1 if lost else 0
        self._told.discard(trial_id)
        self._free.append(self._running.pop(trial_id)["slot"])

    @property
    def wants_actor(self) -> bool:
        """Whether a trial that has its result should let its actor go: another is ready, or there are no more."""
        return self.searches.exhausted or self.searches.ready

    @property
    def hopeless(self) -> bool:
        """Whether one Tune actor after another died: that is the cluster's fault, and no trial's."""
        return self._lost_in_a_row >= _MAX_LOST

    def _tell(self, trial_id: str, result: Mapping[str, Any]) -> None:
        self._told.add(trial_id)
        ended = TrialResult.of(self._running[trial_id], result)
        self.searches.tell(ended)
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
        self._free = sorted([*self._free, *(config["slot"] for config in self._running.values())])
        self._running, self._told = {}, set()

    def _slot(self, proposal: Proposal) -> int:
        warm = next((slot for slot in self._free if self._last_cell.get(slot) == proposal.cell), self._free[0])
        self._free.remove(warm)
        self._last_cell[warm] = proposal.cell
        return warm


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
