"""A store, packed and unpacked, shows the same board; a part stands alone, and says what is wrong with it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.numpy import load_file

from benchmark.bundle.layout import hashes
from benchmark.bundle.pack import pack
from benchmark.bundle.unpack import Shelves, unpack
from benchmark.bundle.weights import rounded, widened
from benchmark.engine.document import write_suite
from benchmark.engine.reproduction import Reproduced, reproduced, told
from benchmark.errors import UserError
from benchmark.stages.keys import cells_of
from benchmark.store.artifacts import Store
from reports.compile import compile_suite
from reports.outcomes import hits_of
from tests.helpers import finished, rebounds

pytestmark = [pytest.mark.unit, pytest.mark.usefixtures("cache")]
NAME = finished.SUITE.name


@pytest.fixture
def made(tmp_path: Path) -> tuple[Store, Path]:
    """The finished store and its bundle."""
    return finished.store_and_bundle(tmp_path)


@pytest.fixture
def store(made: tuple[Store, Path]) -> Store:
    """The store."""
    return made[0]


@pytest.fixture
def bundle(made: tuple[Store, Path]) -> Path:
    """The bundle."""
    return made[1]


def _behind(shelves: Shelves, tmp_path: Path) -> Store:
    return Store(tmp_path / "empty", read_only=shelves)


def test_a_bundle_shows_what_its_store_shows(store: Store, bundle: Path, tmp_path: Path):
    behind = _behind(unpack(bundle), tmp_path)
    own, packed = (compile_suite(place, NAME) for place in (store, behind))
    pd.testing.assert_frame_equal(packed.measures, own.measures)
    columns = [name for name in own.cells if name != "environment"]
    pd.testing.assert_frame_equal(packed.cells[columns], own.cells[columns])
    assert 0.25 in set(packed.cells["attack_success_rate"])  # one of four images is taken for the target
    poison = cells_of(finished.SUITE)[-1].keys.poison
    sources = packed.cells.query("attack != 'none'").iloc[0]["sources"]
    assert hits_of(behind, poison, sources).tolist() == hits_of(store, poison, sources).tolist() == [1, 0, 0, 0]


def test_trajectories_come_with_the_seed_whose_models_they_begin_with(tmp_path: Path):
    suite = rebounds.suite()
    store = rebounds.finish(tmp_path / "store", suite)
    rebounds.grow_all(store, suite)
    pack(store, suite.name, tmp_path / "published" / suite.name)
    behind = _behind(unpack(tmp_path / "published" / suite.name), tmp_path)
    own, packed = (compile_suite(place, suite.name).rebounds for place in (store, behind))
    pd.testing.assert_frame_equal(packed.rows, own.rows)
    assert packed[1:] == own[1:] == (2, 2, ("full", 0.001)) and len(own.rows) == 18


def test_records_are_the_same_but_for_the_machines_name(store: Store, bundle: Path, tmp_path: Path):
    found = _behind(unpack(bundle), tmp_path)
    for cell in cells_of(finished.SUITE):
        own, packed = (
            pq.read_table(place.find("record", cell.keys.record).path("records.parquet")) for place in (store, found)
        )
        assert packed.drop_columns("environment").equals(own.drop_columns("environment"))
        assert json.loads(own["environment"][0].as_py()) == {"host": "somewhere"}
        assert json.loads(packed["environment"][0].as_py()) == {}
    assert b"somewhere" not in b"".join(path.read_bytes() for path in bundle.rglob("*") if path.is_file())


def test_packed_twice_the_bytes_are_equal(store: Store, bundle: Path, tmp_path: Path):
    again = tmp_path / "again"
    pack(store, NAME, again)
    assert hashes(again / "seed-0") == hashes(bundle / "seed-0")
    assert hashes(again / "seed-0")  # of several files


def test_a_run_finds_records_and_no_outcomes(bundle: Path, tmp_path: Path):
    shelves = unpack(bundle)
    records = Store(tmp_path / "empty", read_only=(shelves.records,))
    cell = cells_of(finished.SUITE)[1]
    assert records.has("record", cell.keys.record)
    assert not any(records.has("pretrain", key) for key in (cell.keys.pretrain, cell.keys.twin))
    assert records.keys("evaluate") == []


def test_a_seed_that_is_not_finished_is_left_out_and_no_part_is_touched(store: Store, bundle: Path):
    before = hashes(bundle / "seed-0")
    more = finished.SUITE.model_copy(update={"seeds": (0, 1)})
    write_suite(store, more, cells_of(more), command="", environment={})
    made = pack(store, NAME, bundle)
    assert made.written == (0,)
    assert made.unfinished == {1: len(cells_of(finished.SUITE))}
    assert hashes(bundle / "seed-0") == before
    write_suite(store, more, cells_of(more)[len(cells_of(finished.SUITE)) :], command="", environment={})
    with pytest.raises(UserError, match="there must be a seed whose cells all have their final record, got 3 without"):
        pack(store, NAME, bundle.parent / "other")
    assert not (bundle.parent / "other").exists()


def test_another_suites_folder_is_refused(store: Store, bundle: Path):
    other = finished.SUITE.model_copy(update={"seeds": (7,)})
    write_suite(store, other, cells_of(other), command="", environment={})
    with pytest.raises(UserError, match=r"its suite must be this one, got other cells \(3 are not of suite made-up\)"):
        pack(store, NAME, bundle)


def test_a_changed_byte_is_one_line(bundle: Path):
    path = bundle / "seed-0" / "records.parquet"
    data = bytearray(path.read_bytes())
    data[40] ^= 1
    path.write_bytes(data)
    with pytest.raises(UserError, match=r"seed-0: records\.parquet must be as it was packed, got other bytes"):
        unpack(bundle)


def test_a_newer_format_is_one_line(bundle: Path):
    (bundle / "seed-0" / "bundle.json").write_text('{"format": 2, "files": {}}')
    with pytest.raises(UserError, match=r"bundle\.json must be one of format 1; upgrade Backstop"):
        unpack(bundle)


def test_a_model_made_again_is_compared(store: Store, bundle: Path, tmp_path: Path):
    shelves = unpack(bundle)
    (twin, model) = reproduced(store, shelves)
    assert (twin.label, model.label) == ("mmcl · none · seed 0", "mmcl · badnet · seed 0")
    assert (model.equal, model.accuracy, model.asr, model.same_machine) == (1.0, 0.0, 0.0, True)
    assert model.bits
    assert told([twin, model]) == ["published models: 2 of 2 equal to the bit"]
    assert reproduced(Store(tmp_path / "empty"), shelves) == []


def test_weights_go_with_a_seed_rounded_to_sixteen_bits(store: Store, bundle: Path, tmp_path: Path):
    assert Store(unpack(bundle).models).keys("pretrain") == []
    pack(store, NAME, bundle, weights_of=[0])
    models = Store(unpack(bundle).models)
    for key in store.keys("pretrain"):
        own, packed = (place.find("pretrain", key) for place in (store, models))
        assert sorted(packed.hashes) == ["model.json", "model.safetensors"]
        assert packed.facts["rounded"] == "bf16"
        now, before = (load_file(found.path("model.safetensors")) for found in (packed, own))
        wanted = torch.from_numpy(before["weight"]).bfloat16().float().numpy()
        assert np.array_equal(now["weight"], wanted)
        assert not np.array_equal(now["weight"], before["weight"])
        assert now["steps"] == before["steps"] == 7
    with pytest.raises(UserError, match=r"--weights must be of finished seeds: \[0\], got 3"):
        pack(store, NAME, bundle, weights_of=[3])


def test_rounding_is_to_the_nearest_even_and_keeps_what_is_no_number():
    numbers = np.array([1.0, 1 + 2**-8, 1 + 3 * 2**-8, -3.4e38, np.inf, np.nan, 1e-40, 0.1], np.float32)
    found = widened(rounded({"a": numbers}))["a"]
    assert np.array_equal(found, torch.from_numpy(numbers).bfloat16().float().numpy(), equal_nan=True)
    scalar = widened(rounded({"a": np.array(2.6592, np.float32)}))["a"]
    assert isinstance(scalar, np.ndarray)
    assert (scalar.shape, scalar.dtype) == ((), np.float32)


def test_a_model_that_is_another_is_named():
    good = Reproduced("mmcl · none · seed 0", bits=True, same_machine=True, equal=1.0, accuracy=0.0, asr=None)
    other = Reproduced("mmcl · badnet · seed 0", bits=False, same_machine=False, equal=0.95, accuracy=-0.03, asr=0.01)
    first, second = told([good, other])
    assert first == "published models: 1 of 2 equal to the bit"
    assert "not reproduced: mmcl · badnet · seed 0: 95.0% of predictions equal, CA -3.0, ASR +1.0 points" in second
    assert told([]) == []
