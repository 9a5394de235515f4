"""The searches of many cells: by hand, in this process, after a kill, and on Ray with workers that die."""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmark.errors import UserError
from tests.helpers import searches
from tests.helpers.searches import DEFAULTS, SEARCH, cells, execute, plain, run_search_locally
from tuners.queue import CellState, Proposal, TrialReport, TrialResult, failed, recover
from tuners.rounds import plan_rounds
from tuners.search import run_search, tune_environment


def test_a_local_search_runs_the_defaults_and_the_whole_budget_of_every_cell() -> None:
    seen: list[TrialResult] = []
    results = run_search_locally(cells(), execute, progress=seen.append)
    assert list(results) == ["cell-0", "cell-1", "cell-2"]
    for found in results.values():
        assert [result.trial for result in found] == list(range(7))
        assert [result.phase for result in found] == ["default"] + ["quasi_random"] * 2 + ["tpe"] * 4
        assert [result.round for result in found] == [0, 1, 1, 2, 2, 3, 3]
        assert found[0].parameters == DEFAULTS
    assert sorted(seen) == sorted(result for found in results.values() for result in found)
    left = run_search_locally(cells(1), lambda config: sys.exit(2))["cell-0"]  # a method's own, in the middle
    assert {result.reason for result in left} == {"SystemExit: the code called sys.exit(2)"}
    broken = results["cell-1"][3]
    assert (broken.status, broken.reason, broken.accuracy) == ("failed", "RuntimeError: the matrix is singular", None)


def test_what_tune_reads_is_set_for_a_while_and_never_over_the_users_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNE_WARN_THRESHOLD_S", "3")
    before = dict(os.environ)
    with tune_environment(2):
        assert os.environ["TUNE_MAX_PENDING_TRIALS_PG"] == "2"
        assert os.environ["TUNE_WARN_THRESHOLD_S"] == "3"
    assert dict(os.environ) == before


def test_a_round_of_tpe_waits_for_every_trial_before_it_and_other_cells_fill_the_wait() -> None:
    state = CellState(cells(1)[0])
    out = [state.ask() for _ in range(3)]
    assert [item.trial for item in out if item] == [0, 1, 2]
    assert state.ask() is None
    for item in out[1:]:
        assert item is not None
        state.tell(TrialResult.of(item.config(), execute(item.config())))
        assert state.ask() is None  # the defaults are still out
    assert out[0] is not None
    state.tell(TrialResult.of(out[0].config(), failed(RuntimeError("died"))))
    assert [item.trial for item in (state.ask(), state.ask()) if item] == [3, 4]
    assert state.ask() is None
    assert not state.done


def test_a_search_without_a_range_or_with_a_cell_twice_is_refused() -> None:
    with pytest.raises(UserError, match="at least one range"):
        CellState(cells(1)[0]._replace(space={}))
    with pytest.raises(UserError, match="different"):
        run_search_locally([*cells(1), *cells(1)], execute)


@pytest.mark.parametrize("kept", [0, 1, 3, 5, 11, 20, 21])
def test_a_killed_search_finds_its_trials_in_the_store_and_ends_the_same(kept: int) -> None:
    stored: dict[tuple[str, str], TrialResult] = {}

    def keep(result: TrialResult) -> None:
        stored[result.cell, json.dumps(result.parameters)] = result

    def lookup(proposal: Proposal) -> TrialResult | None:
        return stored.get((proposal.cell, json.dumps(proposal.parameters)))

    undisturbed = run_search_locally(cells(), execute, progress=keep)
    stored = dict(list(stored.items())[:kept])
    known = {(cell, result.trial) for (cell, _), result in stored.items()}
    found = [recover(cell, lookup) for cell in cells()]
    assert {(result.cell, result.trial) for cell in found for result in cell.finished} == known
    ran: list[TrialResult] = []
    assert plain(run_search_locally(found, execute, progress=ran.append)) == plain(undisturbed)
    assert not known & {(result.cell, result.trial) for result in ran}
    assert len(ran) == 21 - len(known)


def test_errors_become_one_line_and_a_status() -> None:
    class OutOfMemoryError(RuntimeError):
        """Named as torch and Ray name theirs."""

    assert failed(OutOfMemoryError("2 GiB")).get("status") == "out_of_memory"
    assert failed(MemoryError()).get("reason") == "MemoryError"
    assert failed(ValueError("\n first\nsecond")).get("reason") == "ValueError: first"


@pytest.fixture
def cluster() -> Iterator[None]:
    """A local Ray cluster of two CPUs that the workers take whole; our modules travel to them by value."""
    import ray
    from ray import cloudpickle

    from benchmark.engine.ray_cluster import start

    start(num_cpus=2, log_to_driver=False, logging_level=logging.ERROR, include_dashboard=False)
    for module in (sys.modules[__name__], searches):
        cloudpickle.register_pickle_by_value(module)
    yield
    for module in (sys.modules[__name__], searches):
        cloudpickle.unregister_pickle_by_value(module)
    ray.shutdown()


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.timeout(300)  # a busy machine takes half a minute and more for Ray's start alone
def test_one_tuner_runs_all_cells_and_survives_workers_that_die(
    cluster: None, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    import ray

    class Worker:
        """Dies once in trial 4 of the first cell, and always in trial 2 of the third."""

        def run_trial(self, config: dict[str, Any]) -> TrialReport:
            place = (config["cell"], config["trial"])
            mark = tmp_path / "died"
            if place == ("cell-0", 4) and not mark.exists():
                mark.touch()
                os._exit(1)
            if place == ("cell-2", 2):
                os._exit(1)
            return execute(config)

    def expected(config: dict[str, Any]) -> TrialReport:
        if (config["cell"], config["trial"]) == ("cell-2", 2):
            raise ChildProcessError
        return execute(config)

    remote = ray.remote(num_cpus=1, max_restarts=-1, max_task_retries=1)(Worker)
    workers = [remote.remote() for _ in range(2)]
    lock, seen = threading.Lock(), []

    def progress(result: TrialResult) -> None:
        with lock:  # a progress bar holds locks, which do not pickle
            seen.append(result)

    results = run_search(cells(), workers, scratch=tmp_path, progress=progress)
    local = run_search_locally(cells(), expected)
    assert (tmp_path / "died").exists()
    assert results["cell-2"][2].status == "failed"
    for cell, found in results.items():
        assert [result._replace(wall_s=0, reason="") for result in found] == [
            result._replace(wall_s=0, reason="") for result in local[cell]
        ]
    assert results["cell-1"][3].reason == "RuntimeError: the matrix is singular"
    assert len(seen) == 3 * (1 + SEARCH.trials)
    assert len(plan_rounds(SEARCH)) == 3
    said = [line for line in capfd.readouterr().out.splitlines() if "(raylet)" not in line]
    assert said == []  # Tune keeps quiet; the raylet tells of the dead workers
    assert run_search([recover(cell, lambda p: results[p.cell][p.trial]) for cell in cells()], [], scratch=tmp_path)
