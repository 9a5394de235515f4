"""Trainings and starts by objective: what each cell gets, on paper and back, and what is refused in one line."""

from __future__ import annotations

from typing import Any

import pytest

from benchmark.attacks.badclip_l import BadCLIPL
from benchmark.config.overrides import override
from benchmark.config.spec import Experiment, Suite
from benchmark.errors import UserError
from benchmark.stages.keys import cells_of
from benchmark.stages.outside import outside_of
from benchmark.types import Training
from tests.config.suites import suite

pytestmark = pytest.mark.unit

KEYS = ["a" * 32, "b" * 32]


def _with(**settings: str) -> Suite:
    return override(suite(), {name.replace("__", ".").replace("_ssl", "-ssl"): text for name, text in settings.items()})


def _by(found: Suite, read: Any) -> dict[tuple[str, int], Any]:
    """Objective and seed -> what its cells have, which must be one thing."""
    cells = {(cell.objective.name, cell.seed): read(cell) for cell in found.experiments()}
    assert all(read(cell) == cells[cell.objective.name, cell.seed] for cell in found.experiments())
    return cells


def test_an_objective_may_train_by_fields_of_its_own_and_takes_the_others_from_the_suite() -> None:
    found = _with(pretrain__epochs="12", pretrain_by_objective__mmcl_ssl__epochs="20", pretrain__batch_size="64")
    assert _by(found, lambda cell: (cell.pretrain.epochs, cell.pretrain.batch_size)) == {
        ("mmcl", 0): (12, 64),
        ("mmcl", 1): (12, 64),
        ("mmcl-ssl", 0): (20, 64),
        ("mmcl-ssl", 1): (20, 64),
    }
    assert found.trainings["mmcl-ssl"] == Training(epochs=20, batch_size=64)
    assert Suite.from_dict(found.to_dict()) == found


def test_a_training_of_its_own_moves_the_keys_of_that_objective_alone() -> None:
    plain, matched = cells_of(suite()), cells_of(_with(pretrain_by_objective__mmcl_ssl__epochs="20"))
    for old, new in zip(plain, matched, strict=True):
        moved = old.experiment.objective.name == "mmcl-ssl"
        assert (old.keys.pretrain != new.keys.pretrain) == (old.keys.record != new.keys.record) == moved
        assert (old.keys.data, old.keys.poison) == (new.keys.data, new.keys.poison)
    same = cells_of(_with(pretrain__epochs="20"))
    assert {cell.keys.pretrain for cell in same} >= {
        cell.keys.pretrain for cell in matched if cell.experiment.objective.name == "mmcl-ssl"
    }


@pytest.mark.parametrize(
    "settings",
    [
        {"pretrain_by_objective__mmcl_ssl__epochs": "20"},
        {"start_by_objective__mmcl_ssl": KEYS[0]},
        {"start_by_objective__mmcl": KEYS[0], "pretrain_by_objective__mmcl__epochs": "3"},
    ],
)
def test_a_model_from_outside_is_trained_as_mmcl_is_whoever_asks_so_that_all_share_the_poison(
    settings: dict[str, str],
) -> None:
    found = _with(**settings).model_copy(update={"attacks": (BadCLIPL(target="ring"),), "seeds": (0,)})
    attacked = [cell for cell in cells_of(found) if cell.experiment.attack]
    assert len({cell.keys.outside for cell in attacked}) == len({cell.keys.poison for cell in attacked}) == 1
    mmcl = next(cell for cell in attacked if cell.experiment.objective.name == "mmcl").experiment
    outside = outside_of(attacked[-1].experiment)
    assert (outside.model, outside.pretrain) == (mmcl.model, mmcl.pretrain)


def test_starts_are_given_for_all_seeds_or_by_seed() -> None:
    by_seed = f'{{"0": "{KEYS[0]}", "1": "{KEYS[1]}"}}'
    found = _with(start_by_objective__mmcl=KEYS[0], start_by_objective__mmcl_ssl=by_seed)
    assert _by(found, lambda cell: cell.model.start_from) == {
        ("mmcl", 0): KEYS[0],
        ("mmcl", 1): KEYS[0],
        ("mmcl-ssl", 0): KEYS[0],
        ("mmcl-ssl", 1): KEYS[1],
    }
    assert Suite.from_dict(found.to_dict()) == found
    fresh = {cell.keys.pretrain for cell in cells_of(suite())}
    assert not fresh & {cell.keys.pretrain for cell in cells_of(found)}


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"pretrain_by_objective__mmcl_ssl__epochs": "20", "start_by_objective__mmcl_ssl": KEYS[0]},
        {"start_by_objective__mmcl": KEYS[0]},
        {"model__start_from": KEYS[1], "start_by_objective__mmcl_ssl": KEYS[0]},
        {"pretrain_by_objective__mmcl__epochs": "20"},
    ],
)
def test_the_smallest_suite_around_a_cell_has_the_cell(settings: dict[str, str]) -> None:
    for cell in _with(**settings).experiments():
        rebuilt = Experiment.from_dict(cell.to_dict()).suite("one")
        assert cell in rebuilt.experiments()


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"pretrain_by_objective__mmcll__epochs": "3"}, "unknown objective in pretrain_by_objective: 'mmcll'; did you"),
        (
            {"pretrain_by_objective__mmcl__epochs": "-1"},
            "pretrain_by_objective.mmcl.epochs must be greater than or equal to 0, got -1",
        ),
        ({"pretrain_by_objective__mmcl__epoch": "3"}, "unknown field 'epoch'; did you mean epochs"),
        ({"start_by_objective__siglip": KEYS[0]}, "unknown objective in start_by_objective: 'siglip'"),
        ({"start_by_objective__mmcl": "models/clean"}, "start_by_objective.mmcl must be the key of a pretrain"),
        (
            {"model__start_from": "abc"},
            "must be the key of a pretrain artifact (32 hex digits), or suite:NAME of a registered suite, got",
        ),
        (
            {"start_by_objective__mmcl__0": KEYS[0]},
            "start_by_objective.mmcl must be given for every seed of [0, 1], got",
        ),
        (
            {"model__pretrained": "openai", "start_by_objective__mmcl": KEYS[0]},
            "start_by_objective must be given without model.pretrained and model.weights",
        ),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(settings: dict[str, str], told: str) -> None:
    with pytest.raises(UserError) as caught:
        _with(**settings)
    assert told in str(caught.value) and "\n" not in str(caught.value)
