"""A hub that does not answer is asked once: caches are used, nothing is retried or printed, one line says it."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any

import pytest
from datasets import config
from huggingface_hub import constants

from benchmark import hub
from benchmark.config.compute_options import ComputeOptions
from benchmark.config.spec import ModelSpec
from benchmark.datasets.hugging_face import loading
from benchmark.datasets.known import Cifar10
from benchmark.engine import running
from benchmark.engine.suites import resolve
from benchmark.errors import UserError
from benchmark.models.clip import build
from benchmark.store.artifacts import Store

pytestmark = pytest.mark.unit


@pytest.fixture
def _silent(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    """No hub, and nothing in its caches."""
    monkeypatch.setattr(hub, "_answers", lambda address: False)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(config, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(config, "HF_DATASETS_CACHE", tmp_path)


@pytest.mark.usefixtures("_silent")
def test_a_set_that_is_neither_on_a_hub_nor_cached_is_one_line_at_once(capfd: pytest.CaptureFixture[str]) -> None:
    began = time.monotonic()
    with pytest.raises(UserError, match=r"cifar10: 'uoft-cs/cifar10@.*' cannot be read .* give local files"):
        Cifar10().open(image_size=32)
    assert time.monotonic() - began < 10  # the library's own retries take 24 s
    assert "".join(capfd.readouterr()) == ""


@pytest.mark.usefixtures("_silent")
def test_weights_that_cannot_be_fetched_are_one_line_at_once(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(UserError, match=r"model.pretrained must be a tag of RN50 .* got 'openai'; connect, or give"):
        build(ModelSpec(name="RN50", pretrained="openai"), seed=0)
    assert not caplog.records


@pytest.mark.usefixtures("_silent")
@pytest.mark.parametrize(
    ("name", "tag", "told"),
    [
        ("RN50", "openai", "model.pretrained must be a tag of RN50 in the hub's cache"),
        ("RN50", "opena", "unknown pretrained tag of RN50 'opena'; did you mean openai"),
        ("tiny-vit", "openai", "model.pretrained: 'tiny-vit' has no published weights"),
    ],
)
def test_a_run_asks_for_published_weights_before_it_makes_anything(
    name: str, tag: str, told: str, tmp_path: Path
) -> None:
    resolved = resolve("smoke", [f"model.name={name}", f"model.pretrained={tag}"])
    with pytest.raises(UserError) as caught:
        running.run(resolved, Store(tmp_path / "store"), ComputeOptions(), running.Wanted(local=True))
    assert str(caught.value).startswith(told)
    assert not (tmp_path / "store").exists()


@pytest.mark.usefixtures("_silent")
def test_offline_mode_and_logs_are_as_before_afterwards() -> None:
    with hub.hub_or_cache(config) as answers:
        assert not answers
        assert constants.HF_HUB_OFFLINE and config.HF_HUB_OFFLINE
    assert not constants.HF_HUB_OFFLINE and not config.HF_HUB_OFFLINE
    assert logging.root.manager.disable < logging.ERROR


def test_a_hub_that_answers_is_used_and_offline_mode_is_respected(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(hub, "_answers", lambda address: bool(asked.append(address)) or True)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    with hub.hub_or_cache() as answers:
        assert answers and not constants.HF_HUB_OFFLINE
    assert asked == [constants.ENDPOINT]
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with hub.hub_or_cache() as answers:
        assert not answers
    assert len(asked) == 1
    assert loading.OFFLINE.startswith("the hub does not answer")


def test_an_address_that_nobody_has_does_not_answer() -> None:
    assert not hub._answers("http://127.0.0.1:9")  # the port of `discard`
