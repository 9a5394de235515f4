"""The clean set that a repair holds: a nested part of the split, and as many poisoned pairs in it as its fields say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from benchmark.attacks.badnet import BadNet
from benchmark.attacks.label_consistent import LabelConsistent
from benchmark.attacks.quantisation.attack import Quantisation
from benchmark.config.overrides import override
from benchmark.data.pools import CachedPool, PoisonedPool, apply_trigger, open_split
from benchmark.errors import UserError
from benchmark.repairs.cleanclip import CleanCLIP
from benchmark.repairs.ubt.repair import UBT
from benchmark.stages.cells import Cell
from benchmark.stages.common import required
from benchmark.stages.keys import cells_of, defend_key
from benchmark.stages.preflight import check_data
from benchmark.stages.work.clean_set import clean_set
from benchmark.stages.work.poison import load_poison
from benchmark.stages.work.prepare import poison_stage, prepare_stage
from benchmark.store.artifacts import Store
from suites.smoke import suite
from tests.helpers.miniature import SMALLEST

pytestmark = pytest.mark.unit
ATTACK = '["badnet:target=ring,poison_rate=0.1,mode=fresh"]'


def prepared(folder: Path, attacks: str = ATTACK) -> tuple[Store, Cell, CachedPool]:
    """A store with the data and poison of one attacked cell, and its clean split."""
    settings = dict(text.split("=", 1) for text in SMALLEST) | {"attacks": attacks}
    store, cell = Store(folder), cells_of(override(suite(), settings))[-1]
    prepare_stage(store, cell, False, tick=lambda *_: None)
    poison_stage(store, cell, tick=lambda *_: None)
    data = required(store, "data", cell.keys.data)
    return store, cell, open_split(data.folder, data.facts, "clean")


def test_a_smaller_set_is_part_of_a_larger_one_and_nothing_is_copied(tmp_path: Path) -> None:
    store, cell, pairs = prepared(tmp_path)
    assert clean_set(store, cell, CleanCLIP(), pairs) is pairs
    some, more = (clean_set(store, cell, CleanCLIP(num_clean_pairs=count), pairs) for count in (40, 90))
    assert isinstance(some, CachedPool) and isinstance(more, CachedPool)
    assert (some.num_rows, more.num_rows) == (40, 90)
    assert some.images is pairs.images
    captions, rows = pairs.captions(np.arange(pairs.num_rows)), np.arange(40)
    images = {
        pool: [image.numpy().tobytes() for image in pool.take(np.arange(pool.num_rows)).images]
        for pool in (some, more, pairs)
    }
    assert set(images[some]) < set(images[more]) < set(images[pairs])
    assert some.labels is not None and pairs.labels is not None
    assert [captions[images[pairs].index(image)] for image in images[some]] == some.captions(rows)
    assert [pairs.labels[images[pairs].index(image)] for image in images[some]] == some.labels.tolist()


def test_as_many_pairs_are_poisoned_as_the_repair_says(tmp_path: Path) -> None:
    store, cell, pairs = prepared(tmp_path)
    found = clean_set(store, cell, CleanCLIP(num_clean_pairs=60, num_poisons_left=5), pairs)
    clean = clean_set(store, cell, CleanCLIP(num_clean_pairs=60), pairs)
    assert isinstance(found, PoisonedPool) and found.num_rows == 60
    rows = np.arange(60)
    before, after = clean.take(rows), found.take(rows)
    changed = (before.images != after.images).flatten(1).any(1).numpy()
    assert changed.sum() == 5
    assert all("ring" in after.captions[row] for row in np.flatnonzero(changed))
    assert all(after.captions[row] == before.captions[row] for row in np.flatnonzero(~changed))
    assert found.unlabelled().labels is None and found.labels is not None
    # a fresh trigger of row r is another one than that of row r of pre-training
    assert isinstance(cell.experiment.attack, BadNet) and cell.experiment.attack.mode == "fresh"
    state = load_poison(required(store, "poison", cell.keys.poison or "").folder).trigger
    rows = np.flatnonzero(changed)
    of_pretraining = apply_trigger(cell.experiment.attack, state, before.images[rows], rows)
    assert not torch.equal(of_pretraining, after.images[rows])


def test_label_consistent_poison_keeps_the_captions_of_its_own_rows(tmp_path: Path) -> None:
    store, cell, pairs = prepared(tmp_path, '["label-consistent:target=ring,poison_rate=0.05,size=5"]')
    assert isinstance(cell.experiment.attack, LabelConsistent)
    found = clean_set(store, cell, CleanCLIP(num_poisons_left=3), pairs)
    rows = np.arange(found.num_rows)
    assert found.captions(rows) == pairs.captions(rows)
    changed = (pairs.take(rows).images != found.take(rows).images).flatten(1).any(1).numpy()
    assert changed.sum() == 3


def test_a_model_that_was_not_attacked_leaves_no_poison(tmp_path: Path) -> None:
    store, cell, pairs = prepared(tmp_path)
    twin = cells_of(override(suite(), dict(text.split("=", 1) for text in SMALLEST)))[0]
    assert twin.experiment.attack is None
    assert clean_set(store, twin, CleanCLIP(num_poisons_left=5), pairs) is pairs
    assert cell.experiment.attack is not None


def test_fields_at_their_defaults_leave_keys_alone_and_others_are_other_runs() -> None:
    cell = cells_of(suite())[-1]
    keys = {defend_key(cell, CleanCLIP(**fields)) for fields in ({}, {"num_clean_pairs": 50}, {"num_poisons_left": 1})}
    assert len(keys) == 3
    assert CleanCLIP().identity()["fields"] == {}


@pytest.mark.parametrize(
    ("repair", "told"),
    [
        (CleanCLIP(num_clean_pairs=2000), "num_clean_pairs must be at most splits.clean 1000, got 2000"),
        (CleanCLIP(num_clean_pairs=50), "batch_size must be at most the 50 clean pairs, got 64"),
        (CleanCLIP(num_poisons_left=1000), "num_poisons_left must be below the 1000 clean pairs"),
        (UBT(num_clean_pairs=50), "num_clean_pairs must be left out by a repair without clean pairs, got 50"),
    ],
)
def test_a_clean_set_that_cannot_be_is_refused_before_a_run(repair: CleanCLIP, told: str) -> None:
    with pytest.raises(UserError) as caught:
        check_data(suite().model_copy(update={"repairs": (repair,)}).experiments())
    assert told in str(caught.value)


def test_poison_is_left_by_attacks_that_poison_a_share() -> None:
    attack = Quantisation(target="ring", size=5)
    grown = suite().model_copy(update={"attacks": (attack,), "repairs": (CleanCLIP(num_poisons_left=1),)})
    with pytest.raises(UserError, match="num_poisons_left must be 0 under quantisation"):
        check_data(grown.experiments())
