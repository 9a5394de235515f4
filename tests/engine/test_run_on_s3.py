"""A run into a store on S3: a lost node costs no epoch that was shared, and nothing of it stays on the machine."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import gettempdir  # where paths are short enough for the sockets of Ray

import boto3
import pytest

from tests.helpers import miniature, s3

pytestmark = pytest.mark.slow
BUSY_S = 10  # `make chaos` has 45
WORDS = [part for text in (*miniature.SMALLEST, "pretrain.epochs=4") for part in ("--set", text)]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[s3.Server]:
    with s3.serving(monkeypatch) as found:
        yield found


def start(store: str, machine: Path, *how: str) -> subprocess.Popen[str]:
    """Starts the suite as on a machine with a cache and a temporary folder of its own."""
    (machine / "tmp").mkdir(parents=True)
    own = {
        "BACKSTOP_CACHE": str(machine / "cache"),
        "TMPDIR": str(machine / "tmp"),
        "RAY_TMPDIR": gettempdir(),
        "OMP_NUM_THREADS": "1",
    }
    words = [sys.executable, "-m", "benchmark.cli", "run", "smoke", "--store", store, "--quiet", *WORDS]
    return subprocess.Popen([*words, *(how or ("--local",))], env=os.environ | own, stderr=subprocess.PIPE, text=True)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The store of the same run into a folder."""
    folder = tmp_path_factory.mktemp("undisturbed")
    run = start(str(folder / "store"), folder / "machine")
    _, complaints = run.communicate(timeout=600)
    assert run.returncode == 0, complaints
    return folder / "store"


def shared() -> list[str]:
    found = boto3.client("s3").list_objects_v2(Bucket=s3.BUCKET, Prefix="store/scratch/pretrain/")
    return [item["Key"] for item in found.get("Contents", ())]


def test_a_lost_node_is_gone_on_from_and_nothing_stays(undisturbed: Path, server: s3.Server, tmp_path: Path) -> None:
    url = f"s3://{s3.BUCKET}/store"
    first = start(url, tmp_path / "first")
    while not any("/00000002-" in key for key in shared()):
        assert first.poll() is None, first.communicate()[1]
        time.sleep(0.05)
    first.send_signal(signal.SIGKILL)
    first.communicate()
    asked: list[str] = []
    server.fault = lambda environ: asked.append(f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}")
    second = start(url, tmp_path / "second")
    _, complaints = second.communicate(timeout=600)
    assert second.returncode == 0, complaints
    epochs = [line.split("/")[-1][:8] for line in asked if line.startswith("PUT") and "/scratch/pretrain/" in line]
    assert any(line.startswith("GET") and "/scratch/pretrain/" in line for line in asked)
    assert epochs[0] > "00000002"
    assert shared() == []
    assert [path for path in (tmp_path / "second" / "tmp").rglob("*") if path.is_file()] == []
    assert list((tmp_path / "second" / "cache").glob("processes/*")) == []
    assert miniature.records(undisturbed) == miniature.records(url)


def test_a_server_that_is_busy_for_a_while_in_the_middle_of_a_run_costs_nothing_but_time(
    undisturbed: Path, server: s3.Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")  # the client itself tries again for seconds
    url = f"s3://{s3.BUCKET}/store"
    run = start(url, tmp_path / "first")
    while not shared():
        assert run.poll() is None, run.communicate()[1]
        time.sleep(0.05)
    until = time.monotonic() + BUSY_S
    server.fault = lambda environ: "503 Slow Down" if time.monotonic() < until else None
    _, complaints = run.communicate(timeout=600)
    assert run.returncode == 0, complaints
    assert time.monotonic() > until
    assert "does not answer" in complaints
    assert miniature.records(undisturbed) == miniature.records(url)


@pytest.mark.ray
def test_a_worker_group_trains_into_a_store_on_s3(server: s3.Server, tmp_path: Path) -> None:
    """Ray Train keeps its state in the store too, where every node of a group finds it."""
    url = f"s3://{s3.BUCKET}/store"
    group = ("--workers", "2", "--cpus", "1", "--set", "pretrain.norm_group=32", "--set", "model.name=tiny-resnet")
    asked: list[str] = []
    server.fault = lambda environ: asked.append(f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}")
    run = start(url, tmp_path / "machine", *group)
    _, complaints = run.communicate(timeout=800)
    assert run.returncode == 0, complaints
    assert any(line.startswith("PUT") and "/scratch/ray-train/" in line for line in asked)
    assert {row["status"] for row in miniature.records(url) if "selection" in row} == {"ok"}
    listed = boto3.client("s3").list_objects_v2(Bucket=s3.BUCKET, Prefix="store/scratch/").get("Contents", [])
    assert [item["Key"] for item in listed] == []
