"""The time of a run without past records: a short training on this machine, and work that is divided by its pace."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from benchmark.engine import probe
from benchmark.engine.plan import plan
from benchmark.stages.keys import cells_of
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


def test_a_pace_is_measured_once_an_hour_for_each_model_and_batch(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("BACKSTOP_CACHE", str(tmp_path))
    asked: list[tuple[str, int]] = []

    def measured(model: str, batch_size: int) -> probe.Pace:
        asked.append((model, batch_size))
        return probe.Pace(100.0 * len(asked), "cpu", 2)

    monkeypatch.setattr(probe, "probe", measured)
    first = probe.pace_of("tiny-vit", 64)
    again = probe.pace_of("tiny-vit", 64)
    assert first and again and again._replace(age_s=0.0) == first == probe.Pace(100.0, "cpu", 2)
    assert probe.pace_of("tiny-vit", 128) == probe.Pace(200.0, "cpu", 2)
    (small, _) = sorted((tmp_path / "paces").iterdir(), key=lambda file: file.stat().st_mtime_ns)
    os.utime(small, (time.time() - probe.BELIEVED_S - 1,) * 2)
    assert probe.pace_of("tiny-vit", 64) == probe.Pace(300.0, "cpu", 2)
    small.write_text("{")  # torn
    assert probe.pace_of("tiny-vit", 64) == probe.Pace(400.0, "cpu", 2)
    assert asked == [("tiny-vit", 64), ("tiny-vit", 128), ("tiny-vit", 64), ("tiny-vit", 64)]


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
