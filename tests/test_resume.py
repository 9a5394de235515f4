"""A run that is killed at any moment and started again leaves the records of an undisturbed run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from benchmark.records import VOLATILE
from benchmark.store import Store

MINIATURE = (
    "splits.pretrain=600",
    "splits.clean=200",
    "splits.validation=150",
    "splits.test=200",
    "pretrain.epochs=2",
    "search.trials=3",
    "search.quasi_random=2",
    "repairs.cleanclip.epochs=2",
    "repairs.fine-tuning.epochs=1",
    "repairs.batch-norm-only.epochs=1",
    "gate.min_asr=0.0",
    "gate.max_accuracy_drop=1.0",
)


def command(store: Path, *more: str) -> list[str]:
    settings = [part for text in MINIATURE for part in ("--set", text)]
    return [sys.executable, "-m", "benchmark.cli", "run", "smoke", "--store", str(store), "--quiet", *settings, *more]


def start(store: Path, *more: str) -> subprocess.Popen[bytes]:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command(store, *more), env=environment, start_new_session=True)


def records(root: Path) -> list[dict[str, object]]:
    store = Store(root)
    document = store.read_json("suites/smoke.json")
    assert document is not None
    rows = []
    for cell in document["cells"]:
        found = store.find("record", cell["record"])
        assert found is not None, cell
        for name in ("records.parquet", "trials.parquet"):
            if found.path(name).exists():
                rows += [
                    {k: v for k, v in row.items() if k not in VOLATILE}
                    for row in pq.read_table(found.path(name)).to_pylist()
                ]
    return rows


def artifacts(root: Path) -> int:
    return len(list(root.glob("*/*/manifest.json")))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_killed_runs_end_in_the_same_records(tmp_path: Path) -> None:
    """SIGKILL during pre-training, during repairs and during the search; then the same command to the end."""
    calm, killed = tmp_path / "calm", tmp_path / "killed"
    assert start(calm, "--local").wait() == 0
    total, deaths = artifacts(calm), 0
    for share in (0.05, 0.3, 0.55, 0.8):
        process = start(killed, "--local")
        while process.poll() is None and artifacts(killed) < share * total:
            time.sleep(0.05)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            deaths += process.wait() == -signal.SIGKILL
    assert deaths >= 3
    assert start(killed, "--local").wait() == 0
    assert records(killed) == records(calm)


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.timeout(900)
def test_the_driver_on_ray_may_die(tmp_path: Path) -> None:
    """The same on Ray: the whole process group of the driver is killed in the middle of the search."""
    calm, killed = tmp_path / "calm", tmp_path / "killed"
    assert start(calm).wait() == 0
    process = start(killed)
    while process.poll() is None and artifacts(killed) < 0.6 * artifacts(calm):
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert start(killed).wait() == 0
    assert records(killed) == records(calm)
