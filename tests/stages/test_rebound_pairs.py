"""Which clean pairs a rebound is run on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmark.attacks.badnet import BadNet
from benchmark.attacks.tdpa import TDPA
from benchmark.data.cached_pool import CachedPool
from benchmark.stages.keys import cells_of
from benchmark.stages.work import rebound_pairs
from benchmark.stages.work.rebound_pairs import drawn, rows_without, target_names
from benchmark.store.artifacts import Store
from benchmark.types import Victims
from tests.helpers.finished import made_up

pytestmark = pytest.mark.unit
CAPTIONS = ["a ring", "A Ring, twice", "rings", "a star", "the key-ring", "something round", "a bell ringing"]
NAMES = ("star", "ring", "bell")
LABELS = np.array([1, 1, 0, 0, 2, 1, 2])


def pool(labels: np.ndarray | None) -> CachedPool:
    return CachedPool(np.zeros((len(CAPTIONS), 4, 4, 3), np.uint8), CAPTIONS, labels)


def test_whole_words_in_whatever_case_and_the_target_class_are_left_out() -> None:
    assert rows_without(pool(None), ["ring"], NAMES).tolist() == [2, 3, 5, 6]
    assert rows_without(pool(LABELS), ["ring"], NAMES).tolist() == [2, 3, 6]  # row 5 is one without saying so
    assert rows_without(pool(LABELS), ["Ring", "star"], NAMES).tolist() == [6]
    assert rows_without(pool(LABELS), [], NAMES).tolist() == list(range(7))


def test_a_name_of_several_words_is_one_name() -> None:
    found = rows_without(pool(None), ["key-ring", "something round"], ())
    assert found.tolist() == [0, 1, 2, 3, 6]


def test_a_smaller_draw_is_part_of_every_larger_one() -> None:
    rows = np.arange(10, 60)
    few, many = (drawn(rows, count, seed=3).tolist() for count in (8, 20))
    assert set(few) < set(many) < set(rows.tolist())
    assert few == sorted(few) and len(few) == 8
    assert drawn(rows, 8, seed=4).tolist() != few
    assert drawn(rows, None, seed=3).tolist() == rows.tolist()


def test_the_target_and_the_whole_name_of_its_class_are_both_words(tmp_path: Path) -> None:
    store = Store(tmp_path)
    cell = cells_of(made_up().model_copy(update={"attacks": (BadNet(target="shark"),)}))[-1]
    store.draft("data", cell.keys.evaluation).commit({"class_names": ["owl", "great white shark"]})
    assert target_names(store, cell) == ["shark", "great white shark"]
    assert target_names(store, cells_of(made_up())[0]) == []  # the clean twin has no target


def test_of_chosen_images_all_targets_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path)
    cell = cells_of(made_up().model_copy(update={"attacks": (TDPA(),)}))[-1]
    assert cell.keys.poison
    store.draft("data", cell.keys.evaluation).commit({"class_names": ["owl", "cat", "dog"]})
    store.draft("poison", cell.keys.poison).commit({})

    class Found:
        victims = Victims(np.array([5, 9, 7]), np.array([2, 0, 2]))

    monkeypatch.setattr(rebound_pairs, "load_poison", lambda folder: Found)
    assert target_names(store, cell) == ["owl", "dog"]
