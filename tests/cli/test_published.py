"""What is published with a suite is there without a store, and done for a run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmark.bundle.pack import pack
from benchmark.bundle.unpack import is_unpacked
from benchmark.engine import published, suites
from benchmark.stages.keys import cells_of
from benchmark.store.artifacts import Store
from tests.cli.conftest import Call
from tests.helpers import finished

pytestmark = [pytest.mark.unit, pytest.mark.usefixtures("cache")]
NAME = finished.SUITE.name


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """File of the suite that has published results."""
    _, bundle = finished.store_and_bundle(tmp_path)
    file = str(tmp_path / "made-up.json")
    monkeypatch.setattr(published, "folder_of", lambda name: bundle if name in (NAME, file) else None)
    return file


def test_the_board_needs_no_store(file: str, tmp_path: Path, call: Call):
    place, page = str(tmp_path / "new"), tmp_path / "page"
    found = suites.store_of(place, None, NAME, outcomes=True)
    assert len(found.behind) == 2
    assert all(is_unpacked(url) for url in found.behind)
    assert suites.options_of(found) == f"--store {place}"
    code, _, _ = call("board", NAME, "--store", place, "--out", str(page))
    assert code == 0
    assert ",0.25," in (page / "records.csv").read_text()
    assert not Path(place).exists()
    code, _, err = call("board", "another", "--store", place)
    assert (code, err.count("\n")) == (2, 1)


def test_published_cells_are_done_and_others_are_not(file: str, tmp_path: Path, call: Call):
    place = str(tmp_path / "new")
    _, out, _ = call("status", NAME, "--store", place, "--json")
    assert [row["state"] for row in json.loads(out)["cells"]] == ["done"] * 3
    more = suites.resolve_at(place, None, file, None, None, ["repair=cleanclip"], trusted=False)
    records = [more[1].has("record", cell.keys.record) for cell in cells_of(more[0].suite)]
    assert sorted(records) == [False, False, True, True, True]


def test_from_published_takes_the_published_models_where_there_are_some(file: str, tmp_path: Path, call: Call):
    place, bundle = str(tmp_path / "new"), tmp_path / "published" / NAME
    code, _, err = call("plan", file, "--store", place, "--from", "published")
    assert (code, err.count("\n")) == (2, 1)
    assert "--from published must be given with a suite whose models are published" in err
    pack(Store(tmp_path / "store"), NAME, bundle, weights_of=[0])
    found = suites.store_of(place, ["published"], NAME)
    cell = cells_of(finished.SUITE)[-1]
    assert found.has("pretrain", cell.keys.twin)
    assert suites.options_of(found) == f"--store {place} --from published"


def test_publish_says_what_it_wrote(file: str, tmp_path: Path, call: Call):
    out_folder = str(tmp_path / "out")
    code, out, _ = call("store", "publish", NAME, "--out", out_folder, "--store", str(tmp_path / "store"))
    assert code == 0
    assert out.startswith(f"{NAME}: seeds 0 written to {out_folder}")
    code, _, err = call("store", "publish", "another", "--out", out_folder, "--store", str(tmp_path / "store"))
    assert (code, err.count("\n")) == (2, 1)
