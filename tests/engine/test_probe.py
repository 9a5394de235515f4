"""The time of a run without past records: a short training on this machine, and work that is divided by its pace."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmark.engine import probe
from benchmark.engine.plan import plan
from benchmark.stages.cells import cells_of
from benchmark.store.artifacts import Store
from suites.kinds import suite as kinds

pytestmark = pytest.mark.unit


def test_a_probe_counts_what_it_trains() -> None:
    pace = probe.measure("tiny-vit", 32, seconds=0.2)
    assert pace.views_per_s > 10
    assert pace.slots >= 1


def test_a_model_too_large_for_the_time_is_judged_by_a_few_images(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    noise = probe._noise

    def counted(image_size: int, count: int) -> object:
        sizes.append(count)
        return noise(image_size, count)

    monkeypatch.setattr(probe, "_noise", counted)
    monkeypatch.setattr(probe, "BATCH_S", 0.0)  # as if every image took for ever
    probe.measure("tiny-resnet", 4096, seconds=0.0)
    assert max(sizes) == 8


def test_a_probe_that_fails_is_no_time_but_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe.sys, "executable", "/bin/false")
    assert probe.probe("tiny-resnet", 128) is None


def test_each_model_is_planned_by_its_own_pace(tmp_path: Path) -> None:
    cells, store = cells_of(kinds()), Store(tmp_path)
    assert {stage.seconds for stage in plan(store, cells).stages if stage.work} == {None}
    half = plan(store, cells, lambda: {"tiny-resnet": 1.0})
    assert {stage.seconds for stage in half.stages if stage.stage == "pretrain"} == {None} and half.seconds is None
    even = plan(store, cells, lambda: {"tiny-resnet": 10.0, "tiny-vit": 10.0})
    assert [stage.seconds for stage in even.stages] == pytest.approx([stage.work / 10 for stage in even.stages])
    slower = plan(store, cells, lambda: {"tiny-resnet": 10.0, "tiny-vit": 5.0})
    pairs = zip(even.stages, slower.stages, strict=True)
    assert all((after.seconds or 0) >= (before.seconds or 0) for before, after in pairs)
    assert (slower.seconds or 0) > (even.seconds or 0) > 0
