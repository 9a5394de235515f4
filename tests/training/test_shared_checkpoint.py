"""Checkpoints on a remote store: the node that comes after a lost one goes on from its last epoch."""

from __future__ import annotations

import uuid
from pathlib import Path

import fsspec
import pytest

from benchmark.models.clip import ClipModel
from benchmark.objectives.mmcl import MMCL
from benchmark.store.artifacts import Store
from benchmark.training import checkpoint
from benchmark.training.loop import EpochEnd, LoopOptions, train
from benchmark.types import Training
from tests.helpers.tiny import differing, model, pairs, tensors

pytestmark = pytest.mark.unit
SHORT = Training(epochs=4, batch_size=16, norm_group=16, warmup_steps=2)


class Lost(Exception):
    """The node is gone."""


@pytest.fixture
def url() -> str:
    return f"memory://{uuid.uuid4().hex}"


def on_node(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BACKSTOP_CACHE", str(tmp_path / name))


def options(url: str, *, lost_after: int = 9, seen: list[int]) -> LoopOptions:
    def on_epoch(end: EpochEnd, _: ClipModel) -> None:
        seen.append(end.epoch)
        if end.epoch == lost_after:
            raise Lost

    scratch = Store(url).shared_scratch("pretrain", "k1")
    scratch.bring(checkpoint.FILE)
    return LoopOptions(checkpoint_folder=scratch.folder, share_checkpoint=scratch.share, on_epoch=on_epoch)


def test_another_node_goes_on_and_gives_the_same_bits(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, seen = train(model(), pairs(), MMCL(), SHORT, seed=3), list[int]()
    on_node("first", tmp_path, monkeypatch)
    with pytest.raises(Lost):
        train(model(), pairs(), MMCL(), SHORT, seed=3, options=options(url, lost_after=2, seen=seen))
    on_node("second", tmp_path, monkeypatch)
    with pytest.raises(Lost):
        train(model(seed=8), pairs(), MMCL(), SHORT, seed=3, options=options(url, lost_after=3, seen=seen))
    on_node("first", tmp_path, monkeypatch)  # whose own copy is older than that of the second
    resumed = train(model(seed=9), pairs(), MMCL(), SHORT, seed=3, options=options(url, seen=seen))
    assert seen == [1, 2, 3, 4]
    assert differing(tensors(whole.model), tensors(resumed.model)) == []
    assert differing(whole.optimizer, resumed.optimizer) == []
    assert whole.history == resumed.history


def test_one_checkpoint_lies_in_the_store_until_the_artifact_is_there(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_node("first", tmp_path, monkeypatch)
    train(model(), pairs(), MMCL(), SHORT, seed=3, options=options(url, seen=[]))
    fs, base = fsspec.core.url_to_fs(url)
    assert len(fs.find(f"{base}/scratch")) == 1
    store = Store(url)
    store.clear_scratch("pretrain", "k1")
    assert fs.find(f"{base}/scratch") == []
    assert checkpoint.load(store.shared_scratch("pretrain", "k1").folder) is None


def test_what_was_never_shared_is_not_gone_on_from(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else one worker of a group would begin where the others do not."""
    on_node("first", tmp_path, monkeypatch)
    scratch = Store(url).shared_scratch("pretrain", "k1")
    checkpoint.save(scratch.folder, checkpoint.Snapshot(2, 8, [], {}, {}, {}, {}))
    scratch.bring(checkpoint.FILE)
    assert checkpoint.load(scratch.folder) is None


def test_a_checkpoint_that_is_damaged_in_the_store_is_passed_over(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_node("first", tmp_path, monkeypatch)
    train(model(), pairs(), MMCL(), SHORT, seed=3, options=options(url, seen=[]))
    fs, base = fsspec.core.url_to_fs(url)
    (file,) = fs.find(f"{base}/scratch")
    fs.pipe_file(file, fs.cat_file(file)[:-1])
    on_node("second", tmp_path, monkeypatch)
    seen: list[int] = []
    train(model(), pairs(), MMCL(), SHORT, seed=3, options=options(url, seen=seen))
    assert seen == [1, 2, 3, 4]
