"""Looking at a remote store reads manifests alone, many at a time; files come one by one, when they are asked for."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from benchmark.perf.remote import ARTIFACTS, LIMIT_S, SEEDS, Asked, requests_of_a_plan
from benchmark.store.artifact import Damaged
from benchmark.store.artifacts import Store
from tests.helpers import s3

pytestmark = [pytest.mark.unit, pytest.mark.usefixtures("cache")]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[s3.Server]:
    with s3.serving(monkeypatch) as found:
        yield found


def asked_by_a_plan(server: s3.Server, *, seeds: int) -> Asked:
    """A plan of a store that has everything but records, after a look at what it asked for."""
    asked = requests_of_a_plan(server, seeds=seeds)
    assert asked.missing["pretrain"] == asked.missing["defend"] == 0
    assert asked.requests["GET"] <= asked.most_gets
    assert asked.requests["LIST"] <= asked.most_lists
    assert asked.requests.keys() <= {"GET", "LIST", "HEAD"}
    return asked


def test_a_plan_asks_for_each_needed_manifest_once(server: s3.Server) -> None:
    assert asked_by_a_plan(server, seeds=1).artifacts > 30


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
    asked = asked_by_a_plan(server, seeds=SEEDS)
    with capsys.disabled():
        print(f"\nplan on S3: {asked.artifacts} artifacts, {asked.seconds:.1f} s, {dict(asked.requests)}")
    assert asked.artifacts >= ARTIFACTS
    assert asked.seconds < LIMIT_S
