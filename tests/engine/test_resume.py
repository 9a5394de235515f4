"""A run that is killed at any moment and started again leaves the records of an undisturbed run."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from tests.helpers.miniature import records, run, start


def artifacts(root: Path) -> int:
    return len(list(root.glob("*/*/manifest.json")))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_killed_runs_end_in_the_same_records(tmp_path: Path) -> None:
    """SIGKILL during pre-training, during repairs and during the search; then the same command to the end."""
    calm, killed = tmp_path / "calm", tmp_path / "killed"
    run(calm, "--local")
    total, deaths = artifacts(calm), 0
    for share in (0.05, 0.3, 0.55, 0.8):
        process = start(killed, "--local")
        while process.poll() is None and artifacts(killed) < share * total:
            time.sleep(0.05)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            deaths += process.wait() == -signal.SIGKILL
    assert deaths >= 3
    run(killed, "--local")
    assert records(killed) == records(calm)


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.timeout(900)
def test_the_driver_on_ray_may_die(tmp_path: Path) -> None:
    """On Ray the driver alone is killed, in the middle of the repairs; the records equal those of `--local`."""
    calm, killed = tmp_path / "calm", tmp_path / "killed"
    run(calm, "--local")
    process = start(killed)
    while process.poll() is None and artifacts(killed) < 0.6 * artifacts(calm):
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    run(killed)
    assert records(killed) == records(calm)


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.timeout(900)
def test_a_worker_group_trains_what_one_worker_trains(tmp_path: Path) -> None:
    """`--workers 2` (gloo) gives the same records as one worker, to rounding in the measured shares."""
    group = ("--set", "pretrain.norm_group=32", "--set", "model.name=tiny-resnet")
    run(tmp_path / "one", *group)
    run(tmp_path / "two", "--workers", "2", *group)
    one, two = records(tmp_path / "one"), records(tmp_path / "two")
    assert [row.get("cell") for row in one] == [row.get("cell") for row in two]  # workers are no part of a key
    shares = [
        (a["value"], b["value"])
        for x, y in zip(one, two, strict=True)
        if x.get("selection") == "undefended"
        for a, b in zip(x["measures"], y["measures"], strict=True)  # type: ignore[call-overload]
        if a["name"] == "clean_accuracy" and a["readout"] == "zero_shot"
    ]
    assert len(shares) == 6
    assert all(abs(a - b) <= 0.02 for a, b in shares), shares
