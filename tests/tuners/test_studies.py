"""Searches as Optuna studies."""

from __future__ import annotations

from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from benchmark.config.spec import Search
from benchmark.errors import UserError
from benchmark.types import Choices, Range
from tuners.queue import CellSearch, TrialResult
from tuners.studies import export, frozen, storage_at

SPACE = {"learning_rate": Range(1e-4, 1e-2, log=True), "kind": Choices(("a", "b")), "steps": Range(1, 8)}


def ended(trial: int, status: str = "ok", **parameters: object) -> TrialResult:
    """A trial with numbers of its own."""
    values = {"learning_rate": 1e-3, "kind": "a", "steps": 2} | parameters
    return TrialResult("cell", trial, 1, "tpe", values, 0.5 + trial / 100, trial / 10, status, "", 2.5)


def search(*trials: TrialResult) -> CellSearch:
    """A search of which these trials have ended."""
    return CellSearch("cell", "key", Search(), SPACE, {}, trials)


@pytest.mark.parametrize("place", ["sqlite:///{}/studies.db", "{}/studies.log"])
def test_a_search_is_read_again_as_it_was(tmp_path: Path, place: str) -> None:
    url = place.format(tmp_path)
    epochs = {("mine", 2): ((0.4, 0.9), (0.5, None))}
    export(
        storage_at(url),
        {"mine": search(ended(1, learning_rate=2e-3), ended(2, "collapsed"), ended(3, "failed"))},
        epochs,
    )
    study = optuna.load_study(study_name="mine", storage=storage_at(url))
    first, second, third = study.trials
    assert (first.values, first.params) == ([0.51, 0.1], {"learning_rate": 2e-3, "kind": "a", "steps": 2})
    assert first.distributions["learning_rate"] == optuna.distributions.FloatDistribution(1e-4, 1e-2, log=True)
    assert (second.state, third.state) == (TrialState.PRUNED, TrialState.FAIL)
    assert second.user_attrs["epochs"] == [[0.4, 0.9], [0.5, None]]
    assert {
        "trial": 3,
        "phase": "tpe",
        "round": 1,
        "status": "failed",
        "wall_s": 2.5,
    }.items() <= third.user_attrs.items()
    assert study.metric_names == ["clean_accuracy", "attack_success_rate"]
    assert [direction.name for direction in study.directions] == ["MAXIMIZE", "MINIMIZE"]


def test_defaults_outside_the_space_are_kept_as_they_are() -> None:
    trial = frozen(ended(0, learning_rate=0.0, kind="c", steps=9), SPACE)
    assert trial.params == {"learning_rate": 0.0, "kind": "c", "steps": 9}
    assert trial.state == TrialState.COMPLETE


def test_a_number_that_is_none_is_a_failure() -> None:
    assert frozen(ended(1)._replace(asr=None), SPACE).state == TrialState.FAIL
    assert frozen(ended(1)._replace(accuracy=float("nan")), SPACE).state == TrialState.FAIL


def test_a_study_that_is_there_is_left_alone_and_nothing_is_written_beside_it(tmp_path: Path) -> None:
    storage = storage_at(f"{tmp_path}/studies.log")
    export(storage, {"mine": search(ended(1))}, {})
    with pytest.raises(UserError, match="--storage must be without a study of that name, got 'mine'"):
        export(storage, {"other": search(ended(1)), "mine": search(ended(1), ended(2))}, {})
    assert [(study.study_name) for study in storage.get_all_studies()] == ["mine"]
    assert len(optuna.load_study(study_name="mine", storage=storage).trials) == 1


@pytest.mark.parametrize("url", ["nothing://there", "{}/no/folder/studies.log", "sqlite:///{}/no/folder/studies.db"])
def test_a_storage_that_cannot_be_opened_is_one_line(tmp_path: Path, url: str) -> None:
    with pytest.raises(UserError, match="must be a storage that Optuna opens") as told:
        storage_at(url.format(tmp_path))
    assert "\n" not in str(told.value)
