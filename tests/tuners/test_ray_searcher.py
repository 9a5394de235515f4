"""Ray Tune's searcher, driven by hand without a cluster: the local search's trials, slots, and trials that are lost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.helpers.searches import cells, execute, plain, run_search_locally
from tuners.queue import failed
from tuners.slots import Slots


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
            result: dict[str, Any] = {**execute(configs[trial]), "final": True}
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

    searcher = RoundSearcher(cells(), slots=Slots(slots))
    _drive(searcher, order)
    assert plain(searcher.searches.results()) == plain(run_search_locally(cells(), execute))
    assert searcher.searches.done


@pytest.mark.ray
def test_slots_are_never_shared_and_nodes_go_first() -> None:
    from tuners.ray_searcher import RoundSearcher

    slots = Slots(2)
    searcher = RoundSearcher(cells(2), slots=slots)
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
    searcher = RoundSearcher(cells(1), slots=slots)
    stopper = StopWhenNeeded(searcher)
    config = searcher.suggest("a")
    assert isinstance(config, dict)
    slots.held = True
    assert not stopper("a", {**execute(config), "final": True})  # it may start none, so that its actor stays
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
    searcher.open(cells(1)[0])
    assert isinstance(searcher.suggest("a"), dict)
    empty = RoundSearcher(slots=Slots(1))
    empty.closed = True
    assert empty.suggest("a") == Searcher.FINISHED


@pytest.mark.ray
@pytest.mark.parametrize("ending", [{"result": None, "error": True}, {"result": {"accuracy": 0.9}, "error": False}])
def test_a_trial_that_ends_without_a_final_result_is_failed_and_blocks_nothing(ending: dict[str, Any]) -> None:
    from tuners.ray_searcher import RoundSearcher

    searcher = RoundSearcher(cells(1), slots=Slots(3))
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

    searcher = RoundSearcher(cells(2), slots=Slots(1))
    stopper = StopWhenNeeded(searcher)
    for name, error in (("a", True), ("b", True), ("c", False), ("d", True), ("e", True)):
        config = searcher.suggest(name)
        assert isinstance(config, dict)
        searcher.on_trial_complete(name, None if error else {**execute(config), "final": True}, error)
        assert not stopper.stop_all()
    assert isinstance(searcher.suggest("f"), dict)
    searcher.on_trial_complete("f", error=True)
    assert stopper.stop_all()


@pytest.mark.ray
def test_a_saved_searcher_comes_back_with_its_results_and_asks_again_for_what_was_running(tmp_path: Path) -> None:
    from tuners.ray_searcher import RoundSearcher

    searcher = RoundSearcher(cells(), slots=Slots(2))
    first = searcher.suggest("a")
    assert isinstance(first, dict)
    searcher.on_trial_complete("a", {**execute(first), "final": True})
    lost = searcher.suggest("b")
    assert isinstance(lost, dict)
    searcher.save(str(tmp_path / "state.json"))
    again = RoundSearcher(cells(), slots=Slots(2))
    again.restore(str(tmp_path / "state.json"))
    assert again.searches.results() == searcher.searches.results()
    _drive(again, 0)
    assert plain(again.searches.results()) == plain(run_search_locally(cells(), execute))
