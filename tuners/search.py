"""Runs the trials of all searches: on Ray with one Tuner over a pool of warm workers, or one at a time here."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from benchmark.errors import CRASHES
from tuners.queue import CellSearch, Proposal, TrialReport, TrialResult, failed
from tuners.rounds import warm_up
from tuners.slots import Slots

if TYPE_CHECKING:
    from tuners.ray_searcher import RoundSearcher

# A Tune actor only waits for its worker. It asks for no CPU, since the workers may hold them all, and a search that
# waits for a hundredth of one would hang; Tune wants some request, so it is a megabyte of memory.
_NEXT_TO_NOTHING: dict[str, float] = {"CPU": 0, "memory": 2**20}
Execute = Callable[[dict[str, Any]], TrialReport]
Progress = Callable[[TrialResult], None]


class Workers(Protocol):
    """The workers by slot, wherever they are; pickles."""

    def run_trial(self, slot: int, config: dict[str, Any]) -> Any:
        """Sends a trial to the worker of a slot; a reference of Ray to its `TrialReport`."""
        ...


class Handles(NamedTuple):
    """Workers by their handles: warm Ray actors with a method `run_trial(config) -> TrialReport`."""

    handles: Sequence[Any]

    def run_trial(self, slot: int, config: dict[str, Any]) -> Any:
        """Sends a trial to the worker of a slot."""
        return self.handles[slot].run_trial.remote(config)


# Trials may last 3 s, so what Tune does between them counts; the store holds every result, so Tune need not.
_TUNE = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # an interrupt must reach the command, not end in half a result
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "TUNE_WARN_THRESHOLD_S": "10",
    "RAY_AIR_NEW_OUTPUT": "0",  # the new output prints a banner even when told to be silent
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
}


@contextmanager
def tune_environment(slots: int) -> Iterator[None]:
    """What Tune reads of the environment, for a while; what the user has set stays. For the main thread."""
    values = {**_TUNE, "TUNE_MAX_PENDING_TRIALS_PG": str(slots)}
    ours = {name: value for name, value in values.items() if name not in os.environ}
    os.environ.update(ours)
    try:
        yield
    finally:
        for name in ours:
            os.environ.pop(name, None)


def run_locally(proposal: Proposal, execute: Execute) -> TrialResult:
    """Runs one trial in this process; an exception makes it a failed one."""
    began, config = time.monotonic(), proposal.config()
    try:
        report = execute(config)
    except CRASHES as error:
        report = failed(error)
    return TrialResult.of(config, {"wall_s": time.monotonic() - began, **report})


def run_search(
    cells: Sequence[CellSearch], workers: Sequence[Any], *, scratch: Path, progress: Progress | None = None
) -> dict[str, list[TrialResult]]:
    """Runs all trials of all cells with one Tuner; one trial at a time on each worker.

    Args:
        cells: the searches; trials they list as finished are not run again.
        workers: handles of warm Ray actors with a method `run_trial(config: dict) -> TrialReport`; see `serve`.
        scratch: folder for Tune's own files, on this machine.
        progress: called in this process after every trial.

    Returns:
        Cell -> its trials, sorted by trial.
    """
    from tuners.ray_searcher import RoundSearcher

    searcher = RoundSearcher(cells, slots=Slots(len(workers)), progress=progress)
    searcher.closed = True
    with tune_environment(len(workers)):
        serve(searcher, Handles(workers), scratch=scratch)
    return searcher.searches.results()


def serve(searcher: RoundSearcher, workers: Workers, *, scratch: Path, limit_s: float | None = None) -> None:
    """Runs the trials of a searcher with one Tuner until it is closed and every trial has ended.

    To be called under `tune_environment`, which belongs to the process and not to the thread that this may run in.

    Args:
        searcher: searches may be opened in it meanwhile, by another thread.
        workers: warm Ray actors by slot. They hold the real resources; Tune's own actors ask for almost nothing. Made
            with `.options(max_restarts=-1, max_task_retries=1)`, a worker that dies comes back under the same handle
            and runs its trial once more; when it dies again, the trial counts as failed and the worker serves the next.
        scratch: folder for Tune's own files, on this machine.
        limit_s: seconds that a trial may take; its worker is not used again, and the slot dropped. None: no limit.

    Raises:
        RuntimeError: Tune's own actors died one after another, or Tune ended before all trials had.
    """
    warm_up()
    if searcher.finished:
        return
    errors = _fit(searcher, workers, scratch, limit_s)
    if searcher.hopeless or not searcher.searches.done:
        cause = errors[0] if errors else None
        raise RuntimeError(f"Ray Tune gave up: {_last_line(cause)}; the store keeps what is done") from cause


def _fit(searcher: RoundSearcher, workers: Workers, scratch: Path, limit_s: float | None) -> list[Exception]:
    """Runs the Tuner to its end; returns the errors of its own actors, which a healthy cluster has none of."""
    from ray import tune

    from tuners.ray_searcher import StopWhenNeeded
    from tuners.ray_trainable import RemoteTrial

    trial = tune.with_parameters(RemoteTrial, workers=workers, limit_s=limit_s)
    trainable = tune.with_resources(trial, _NEXT_TO_NOTHING)
    tuner = tune.Tuner(
        trainable,
        tune_config=tune.TuneConfig(
            search_alg=searcher,
            num_samples=-1,  # the searcher says when it is finished
            reuse_actors=True,
            trial_name_creator=_name,
            trial_dirname_creator=_name,
        ),
        run_config=tune.RunConfig(
            name=f"search-{time.time_ns():x}",
            storage_path=str(scratch.resolve()),
            verbose=0,
            stop=StopWhenNeeded(searcher),
            failure_config=tune.FailureConfig(max_failures=1),  # a step never raises: only a dead actor is a failure
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
        ),
    )
    return list(tuner.fit().errors)


def _last_line(error: Exception | None) -> str:
    """The line of a traceback that says what went wrong."""
    return ([line.strip() for line in str(error).splitlines() if line.strip()] or ["unknown"])[-1]


def _name(trial: Any) -> str:
    return f"{trial.config['cell'][:12]}-{trial.config['trial']}-{trial.trial_id}"
