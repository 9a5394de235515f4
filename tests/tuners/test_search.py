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

from benchmark.config.spec import Search
from benchmark.errors import UserError
from benchmark.types import Choices, Range
from tests.helpers.searches import run_search_locally
from tuners.queue import CellSearch, CellState, Proposal, TrialReport, TrialResult, failed, recover
from tuners.rounds import plan_rounds
from tuners.search import run_search
from tuners.slots import Slots

SEARCH = Search(trials=6, quasi_random=2, round_size=2, startup_trials=2)
SPACE = {"rate": Range(1e-5, 1e-2, log=True), "mode": Choices(("a", "b"))}
DEFAULTS = {"rate": 1e-3, "mode": "a"}


def _cells(count: int = 3, search: Search = SEARCH) -> list[CellSearch]:
    return [CellSearch(f"cell-{i}", f"key-{i}", search, SPACE, DEFAULTS) for i in range(count)]


def _execute(config: dict[str, Any]) -> TrialReport:
    """A trial whose numbers follow from its parameters; trial 3 of the second cell raises."""
    if (config["cell"], config["trial"]) == ("cell-1", 3):
        raise RuntimeError("the matrix is singular\nmore lines")
    rate = config["parameters"]["rate"]
    return {"status": "ok", "accuracy": 0.8 - 20 * rate, "asr": 0.9 - 80 * rate}


def _plain(results: dict[str, list[TrialResult]]) -> dict[str, list[TrialResult]]:
    """Results without their times."""
    return {cell: [result._replace(wall_s=0.0) for result in found] for cell, found in results.items()}


def test_a_local_search_runs_the_defaults_and_the_whole_budget_of_every_cell() -> None:
    seen: list[TrialResult] = []
    results = run_search_locally(_cells(), _execute, progress=seen.append)
    assert list(results) == ["cell-0", "cell-1", "cell-2"]
    for found in results.values():
        assert [result.trial for result in found] == list(range(7))
        assert [result.phase for result in found] == ["default"] + ["quasi_random"] * 2 + ["tpe"] * 4
        assert [result.round for result in found] == [0, 1, 1, 2, 2, 3, 3]
        assert found[0].parameters == DEFAULTS
    assert sorted(seen) == sorted(result for found in results.values() for result in found)
    left = run_search_locally(_cells()[:1], lambda config: sys.exit(2))["cell-0"]  # a method's own, in the middle
    assert {result.reason for result in left} == {"SystemExit: the code called sys.exit(2)"}
    broken = results["cell-1"][3]
    assert (broken.status, broken.reason, broken.accuracy) == ("failed", "RuntimeError: the matrix is singular", None)


def test_a_round_of_tpe_waits_for_every_trial_before_it_and_other_cells_fill_the_wait() -> None:
    state = CellState(_cells(1)[0])
    out = [state.ask() for _ in range(3)]
    assert [item.trial for item in out if item] == [0, 1, 2]
    assert state.ask() is None
    for item in out[1:]:
        assert item is not None
        state.tell(TrialResult.of(item.config(), _execute(item.config())))
        assert state.ask() is None  # the defaults are still out
    assert out[0] is not None
    state.tell(TrialResult.of(out[0].config(), failed(RuntimeError("died"))))
    assert [item.trial for item in (state.ask(), state.ask()) if item] == [3, 4]
    assert state.ask() is None
    assert not state.done


def test_a_search_without_a_range_or_with_a_cell_twice_is_refused() -> None:
    with pytest.raises(UserError, match="at least one range"):
        CellState(_cells(1)[0]._replace(space={}))
    with pytest.raises(UserError, match="different"):
        run_search_locally([*_cells(1), *_cells(1)], _execute)


@pytest.mark.parametrize("kept", [0, 1, 3, 5, 11, 20, 21])
def test_a_killed_search_finds_its_trials_in_the_store_and_ends_the_same(kept: int) -> None:
    stored: dict[tuple[str, str], TrialResult] = {}

    def keep(result: TrialResult) -> None:
        stored[result.cell, json.dumps(result.parameters)] = result

    def lookup(proposal: Proposal) -> TrialResult | None:
        return stored.get((proposal.cell, json.dumps(proposal.parameters)))

    undisturbed = run_search_locally(_cells(), _execute, progress=keep)
    stored = dict(list(stored.items())[:kept])
    known = {(cell, result.trial) for (cell, _), result in stored.items()}
    cells = [recover(cell, lookup) for cell in _cells()]
    assert {(result.cell, result.trial) for cell in cells for result in cell.finished} == known
    ran: list[TrialResult] = []
    assert _plain(run_search_locally(cells, _execute, progress=ran.append)) == _plain(undisturbed)
    assert not known & {(result.cell, result.trial) for result in ran}
    assert len(ran) == 21 - len(known)


def test_errors_become_one_line_and_a_status() -> None:
    class OutOfMemoryError(RuntimeError):
        """Named as torch and Ray name theirs."""

    assert failed(OutOfMemoryError("2 GiB")).get("status") == "out_of_memory"
    assert failed(MemoryError()).get("reason") == "MemoryError"
    assert failed(ValueError("\n first\nsecond")).get("reason") == "ValueError: first"


# --- Ray Tune's searcher, driven by hand: no cluster ------------------------------------------------------------


def _drive(searcher: Any, order: int) -> None:
    """Plays Tune: keeps every slot busy and ends the oldest (0) or the newest (-1) trial first."""
    from ray.tune.search.searcher import Searcher

    from tuners.ray_searcher import StopWhenNeeded

    searcher.closed = True
    stopper, configs = StopWhenNeeded(searcher), {}
    running: list[str] = []  # have no result yet
    held: list[str] = []  # have one, and keep their actor
    while True:
        config = searcher.suggest(name := f"t{len(configs)}")
        if isinstance(config, dict):
            running.append(name)
            configs[name] = config
            continue
        if not running and not held:
            assert config == Searcher.FINISHED
            return
        trial = running.pop(order) if running else held.pop(0)
        try:
            result: dict[str, Any] = {**_execute(configs[trial]), "final": True}
        except RuntimeError as error:
            result = {**failed(error), "final": True}
        if stopper(trial, result):
            searcher.on_trial_complete(trial, result)
            for other in list(held):
                if stopper(other, {"final": True}):
                    held.remove(other)
                    searcher.on_trial_complete(other, {"final": True})
                    break
        else:
            held.append(trial)


@pytest.mark.ray
@pytest.mark.parametrize("order", [0, -1])
@pytest.mark.parametrize("slots", [1, 2, 5])
def test_the_searcher_gives_the_same_trials_as_the_local_search_in_whatever_order_they_end(
    slots: int, order: int
) -> None:
    from tuners.ray_searcher import RoundSearcher

    searcher = RoundSearcher(_cells(), slots=Slots(slots))
    _drive(searcher, order)
    assert _plain(searcher.searches.results()) == _plain(run_search_locally(_cells(), _execute))
    assert searcher.searches.done


@pytest.mark.ray
def test_slots_are_never_shared_and_nodes_go_first() -> None:
    from tuners.ray_searcher import RoundSearcher

    slots = Slots(2)
    searcher = RoundSearcher(_cells(2), slots=slots)
    node = slots.take()  # something of the run that is no trial
    first = searcher.suggest("a")
    assert isinstance(first, dict)
    assert {first["slot"], node} == {0, 1}
    assert searcher.suggest("b") is None
    assert node is not None
    slots.give(node)
    slots.held = True  # a node is ready
    assert searcher.suggest("b") is None
    slots.held = False
    second = searcher.suggest("b")
    assert isinstance(second, dict)
    assert second["slot"] == node


@pytest.mark.ray
def test_a_trial_with_its_result_frees_its_slot_and_holds_its_actor_until_another_can_start() -> None:
    from tuners.ray_searcher import RoundSearcher, StopWhenNeeded

    slots = Slots(1)
    searcher = RoundSearcher(_cells(1), slots=slots)
    stopper = StopWhenNeeded(searcher)
    config = searcher.suggest("a")
    assert isinstance(config, dict)
    slots.held = True
    assert not stopper("a", {**_execute(config), "final": True})  # it may start none, so that its actor stays
    assert slots.take() == 0  # a node's
    slots.held = False
    assert not stopper("a", {"final": True})
    slots.give(0)
    assert searcher.suggest("b") is None  # not beside the actor that is held
    assert stopper("a", {"final": True})
    searcher.on_trial_complete("a", {"final": True})
    assert isinstance(searcher.suggest("b"), dict)


@pytest.mark.ray
def test_an_open_searcher_waits_for_further_searches() -> None:
    from ray.tune.search.searcher import Searcher

    from tuners.ray_searcher import RoundSearcher

    searcher = RoundSearcher(slots=Slots(1))
    assert searcher.suggest("a") is None
    searcher.open(_cells(1)[0])
    assert isinstance(searcher.suggest("a"), dict)
    empty = RoundSearcher(slots=Slots(1))
    empty.closed = True
    assert empty.suggest("a") == Searcher.FINISHED


@pytest.mark.ray
@pytest.mark.parametrize("ending", [{"result": None, "error": True}, {"result": {"accuracy": 0.9}, "error": False}])
def test_a_trial_that_ends_without_a_final_result_is_failed_and_blocks_nothing(ending: dict[str, Any]) -> None:
    from tuners.ray_searcher import RoundSearcher

    searcher = RoundSearcher(_cells(1), slots=Slots(3))
    for name in "abc":
        assert isinstance(searcher.suggest(name), dict)
    for name in "abc":
        searcher.on_trial_complete(name, **ending)
        searcher.on_trial_complete(name, **ending)  # told twice, counted once
    found = searcher.searches.results()["cell-0"]
    assert [(result.status, result.accuracy) for result in found] == [("failed", None)] * 3
    config = searcher.suggest("d")
    assert isinstance(config, dict)
    assert config["trial"] == 3


@pytest.mark.ray
def test_a_cluster_that_kills_every_actor_ends_the_run() -> None:
    from tuners.ray_searcher import RoundSearcher, StopWhenNeeded

    searcher = RoundSearcher(_cells(2), slots=Slots(1))
    stopper = StopWhenNeeded(searcher)
    for name, error in (("a", True), ("b", True), ("c", False), ("d", True), ("e", True)):
        config = searcher.suggest(name)
        assert isinstance(config, dict)
        searcher.on_trial_complete(name, None if error else {**_execute(config), "final": True}, error)
        assert not stopper.stop_all()
    assert isinstance(searcher.suggest("f"), dict)
    searcher.on_trial_complete("f", error=True)
    assert stopper.stop_all()


@pytest.mark.ray
def test_a_saved_searcher_comes_back_with_its_results_and_asks_again_for_what_was_running(tmp_path: Path) -> None:
    from tuners.ray_searcher import RoundSearcher

    searcher = RoundSearcher(_cells(), slots=Slots(2))
    first = searcher.suggest("a")
    assert isinstance(first, dict)
    searcher.on_trial_complete("a", {**_execute(first), "final": True})
    lost = searcher.suggest("b")
    assert isinstance(lost, dict)
    searcher.save(str(tmp_path / "state.json"))
    again = RoundSearcher(_cells(), slots=Slots(2))
    again.restore(str(tmp_path / "state.json"))
    assert again.searches.results() == searcher.searches.results()
    _drive(again, 0)
    assert _plain(again.searches.results()) == _plain(run_search_locally(_cells(), _execute))


# --- on Ray -----------------------------------------------------------------------------------------------------


@pytest.fixture
def cluster() -> Iterator[None]:
    """A local Ray cluster of two CPUs that the workers take whole; this module travels to them by value."""
    import ray
    from ray import cloudpickle

    ray.init(num_cpus=2, log_to_driver=False, logging_level=logging.ERROR, include_dashboard=False)
    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    yield
    cloudpickle.unregister_pickle_by_value(sys.modules[__name__])
    ray.shutdown()


@pytest.mark.ray
@pytest.mark.timeout(120)
def test_one_tuner_runs_all_cells_and_survives_workers_that_die(
    cluster: None, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    import ray

    class Worker:
        """Dies once in trial 4 of the first cell, and always in trial 2 of the third."""

        def run_trial(self, config: dict[str, Any]) -> TrialReport:
            place = (config["cell"], config["trial"])
            mark = tmp_path / "died"
            if place == ("cell-2", 2) or (place == ("cell-0", 4) and not mark.exists()):
                mark.touch()
                os._exit(1)
            return _execute(config)

    def expected(config: dict[str, Any]) -> TrialReport:
        if (config["cell"], config["trial"]) == ("cell-2", 2):
            raise ChildProcessError
        return _execute(config)

    remote = ray.remote(num_cpus=1, max_restarts=-1, max_task_retries=1)(Worker)
    workers = [remote.remote() for _ in range(2)]
    lock, seen = threading.Lock(), []

    def progress(result: TrialResult) -> None:
        with lock:  # a progress bar holds locks, which do not pickle
            seen.append(result)

    results = run_search(_cells(), workers, scratch=tmp_path, progress=progress)
    local = run_search_locally(_cells(), expected)
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
    assert run_search([recover(cell, lambda p: results[p.cell][p.trial]) for cell in _cells()], [], scratch=tmp_path)
