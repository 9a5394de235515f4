"""A run that is killed at any moment and started again leaves the records of an undisturbed run."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from tests.helpers.miniature import is_undisturbed, records, run, start


def artifacts(root: Path) -> int:
    return len(list(root.glob("*/*/manifest.json")))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_killed_runs_end_in_the_same_records(tmp_path: Path, miniature_store: Path) -> None:
    """SIGKILL during pre-training, during repairs and during the search; then the same command to the end."""
    killed, total, deaths = tmp_path / "killed", artifacts(miniature_store), 0
    for share in (0.05, 0.4, 0.8):
        process = start(killed, "--local")
        while process.poll() is None and artifacts(killed) < share * total:
            time.sleep(0.05)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            deaths += process.wait() == -signal.SIGKILL
    assert deaths >= 2
    run(killed, "--local")
    assert records(killed) == records(miniature_store)


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.timeout(900)
def test_the_driver_on_ray_may_die(tmp_path: Path, miniature_store: Path) -> None:
    """On Ray the driver alone is killed, in the middle of the repairs; the records equal those of `--local`."""
    half = ("--only", "objective=mmcl")
    process = start(tmp_path, *half)
    while process.poll() is None and len(list(tmp_path.glob("defend/*/manifest.json"))) < 8:
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    run(tmp_path, *half)
    assert is_undisturbed(tmp_path, miniature_store, cells=12)


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.timeout(900)
def test_a_worker_group_trains_what_one_worker_trains(tmp_path: Path) -> None:
    """`--workers 2` (gloo) gives the same records as one worker, to rounding in the measured shares."""
    bare = ("--only", "attack=badnet,attack=clean,repair=none")  # four models; what follows a model knows no group
    group = (*bare, "--set", "pretrain.norm_group=32", "--set", "model.name=tiny-resnet")
    run(tmp_path / "one", "--local", *group)
    run(tmp_path / "two", "--workers", "2", *group)
    one, two = records(tmp_path / "one", part=True), records(tmp_path / "two", part=True)
    assert [row.get("cell") for row in one] == [row.get("cell") for row in two]  # workers are no part of a key
    shares = [
        (a["value"], b["value"])
        for x, y in zip(one, two, strict=True)
        for a, b in zip(x["measures"], y["measures"], strict=True)  # type: ignore[call-overload]
        if a["name"] == "clean_accuracy" and a["readout"] == "zero_shot"
    ]
    assert len(shares) == 4
    assert all(abs(a - b) <= 0.02 for a, b in shares), shares
