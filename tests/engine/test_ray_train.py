"""Pre-training in a worker group, without the group: what each of its workers runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cloudpickle
import pytest
import ray.train
import ray.train.torch
import torch

from benchmark.engine.ray_train import group_loop
from benchmark.stages.common import Compute
from benchmark.stages.work import pretrain
from benchmark.store.artifacts import Store
from tests.helpers.finished import searched

pytestmark = [pytest.mark.slow, pytest.mark.ray]  # the import of Ray Train alone takes seconds


class SecondRank:
    """The context of a worker that writes nothing."""

    def get_world_rank(self) -> int:
        return 1


def test_workers_draw_the_same_global_numbers_in_every_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[float] = []
    monkeypatch.setattr(ray.train, "report", lambda metrics: None)
    monkeypatch.setattr(ray.train, "get_context", SecondRank)
    monkeypatch.setattr(ray.train.torch, "get_device", lambda: torch.device("cpu"))

    def draw(*given: Any, **options: Any) -> None:
        drawn.append(float(torch.rand(())))

    monkeypatch.setattr(pretrain, "pretrain", draw)
    cell = searched(trials=1, quasi_random=1)
    for _ in range(2):
        group_loop({"plugins": (), "payload": cloudpickle.dumps((Store(tmp_path), cell, Compute()))})
    assert drawn[0] == drawn[1]
