"""Looking at a remote store reads manifests alone, many at a time; files come one by one, when they are asked for."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from benchmark.engine.graph import nodes_of
from benchmark.engine.plan import plan
from benchmark.perf.scale import scale_suite
from benchmark.stages.cells import Cell
from benchmark.stages.every import STAGES
from benchmark.stages.keys import cells_of
from benchmark.stages.prepare import row_counter
from benchmark.store.artifact import Damaged
from benchmark.store.artifacts import Store
from tests.helpers import s3

pytestmark = pytest.mark.unit


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BACKSTOP_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[s3.Server]:
    with s3.serving(monkeypatch) as found:
        yield found


def fill(store: Store, cells: list[Cell]) -> int:
    """Manifests of all that the cells need but their records, put side by side; how many."""
    fs, base = fsspec.core.url_to_fs(store.root)
    refs = {node.ref for _, node in nodes_of(cells, STAGES, row_counter(store)) if node.stage.name != "record"}
    facts = {"wall_s": 2.0, "splits": {"pretrain": 600}}
    manifest = json.dumps({"attempt": "a1", "files": {"model": "0" * 64}, "sizes": {"model": 9}, "facts": facts})
    written = {f"{base}/{stage}/{key}/manifest.json": manifest.encode() for stage, key in refs}
    fs.pipe(written)
    return len(refs)


def requests_of_a_plan(server: s3.Server, *, seeds: int) -> tuple[int, float]:
    """Plans on a store that has everything but records; how many artifacts it has, and the seconds that it took."""
    cells = cells_of(scale_suite(objectives=2, attacks=3, repairs=2, seeds=seeds))
    url = f"s3://{s3.BUCKET}/store"
    number = fill(Store(url), cells)
    server.requests.clear()
    began = time.perf_counter()
    planned = plan(Store(url), cells)
    seconds = time.perf_counter() - began
    assert sum(stage.found for stage in planned.stages) > 0.5 * number
    missing = {stage.stage: stage.total - stage.found for stage in planned.stages}
    assert missing["pretrain"] == missing["defend"] == 0
    stages = len({node.stage.name for _, node in nodes_of(cells, STAGES, row_counter(Store(url)))})
    assert server.requests["GET"] <= number + 2  # and format.json, and a manifest of data that is not there
    assert server.requests["LIST"] <= stages + number // 1000 + 1
    assert server.requests.keys() <= {"GET", "LIST", "HEAD"}
    return number, seconds


def test_a_plan_asks_for_each_needed_manifest_once(server: s3.Server) -> None:
    number, _ = requests_of_a_plan(server, seeds=1)
    assert number > 30


def test_files_come_one_by_one_when_they_are_asked_for(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"memory://{uuid.uuid4().hex}"
    draft = Store(url).draft("pretrain", "k1")
    for name in ("model", "optimizer"):
        draft.path(name).write_text(name)
    draft.commit({"epochs": 3})
    monkeypatch.setenv("BACKSTOP_CACHE", str(cache.with_name("other")))
    found = Store(url).find("pretrain", "k1")
    assert found is not None
    assert fetched(cache.with_name("other")) == []
    assert found.path("model").read_text() == "model"
    assert fetched(cache.with_name("other")) == ["model"]
    assert sorted(path.name for path in found.folder.iterdir()) == ["model", "optimizer"]


def fetched(cache: Path) -> list[str]:
    return [path.name for path in cache.glob("artifacts/*/*")]


def test_damage_that_shows_late_counts_from_then_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    url = f"memory://{uuid.uuid4().hex}"
    theirs = Store(url)
    theirs.draft("pretrain", "k1").commit({"epochs": 3})
    fs, base = fsspec.core.url_to_fs(url)
    manifest = json.loads(fs.cat_file(f"{base}/pretrain/k1/manifest.json"))
    fs.pipe_file(f"{base}/pretrain/k1/{manifest['attempt']}/model", b"swapped")
    manifest |= {"files": {"model": "0" * 64}}
    fs.pipe_file(f"{base}/pretrain/k1/manifest.json", json.dumps(manifest).encode())
    for mine in (Store(tmp_path / "mine", read_only=(url,)), Store(url)):
        found = mine.find("pretrain", "k1")
        assert found is not None
        with pytest.raises(Damaged, match="model is not what was written .* run the suite again"):
            found.path("model")
        for again in (mine, Store(mine.root, read_only=mine.behind)):
            assert again.find("pretrain", "k1") is None
            assert not again.has("pretrain", "k1")


@pytest.mark.slow
def test_a_plan_of_two_thousand_artifacts_takes_less_than_twenty_seconds(
    server: s3.Server, capsys: pytest.CaptureFixture[str]
) -> None:
    number, seconds = requests_of_a_plan(server, seeds=22)
    with capsys.disabled():
        print(f"\nplan on S3: {number} artifacts, {seconds:.1f} s, {dict(server.requests)}")
    assert number >= 2000
    assert seconds < 20
