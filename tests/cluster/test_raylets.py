"""Runs on several raylets of one machine: nodes that join, leave and are lost, two workers, and equal bits."""

from __future__ import annotations

import json
import time
from pathlib import Path
from subprocess import Popen

import pytest
from safetensors.torch import load_file

from benchmark.store.artifacts import Store
from tests.cluster.raylets import Raylets
from tests.helpers.miniature import is_undisturbed, records, run, start

pytestmark = [pytest.mark.slow, pytest.mark.ray]
CELLS = ("--only", "objective=mmcl,attack=badnet,attack=clean", "--only", "repair=none,repair=cleanclip")
CLEAN = ("--only", "objective=mmcl,attack=clean,repair=none", "--set", "pretrain.norm_group=64")


def made(root: Path, stage: str = "*") -> int:
    """How many artifacts are finished."""
    return len(list(root.glob(f"{stage}/*/manifest.json")))


def wait_for(process: Popen[str], root: Path, number: int, stage: str = "*", limit_s: float = 240) -> None:
    """Until a run has made so many artifacts."""
    end = time.monotonic() + limit_s
    while made(root, stage) < number:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end, f"{made(root, stage)} of {number} artifacts of {stage} after {limit_s} s"
        time.sleep(0.1)


def finish(process: Popen[str]) -> None:
    """Waits for the end of a run, which says nothing of what it lived through."""
    printed, complaints = process.communicate()
    assert process.returncode == 0, printed + complaints
    assert complaints == ""


@pytest.mark.timeout(900)
def test_nodes_that_join_leave_and_are_lost_change_no_record(tmp_path: Path, miniature_store: Path) -> None:
    """Equal threads, so equal bits: one CPU a slot there, one thread here."""
    root = tmp_path / "store"
    with Raylets() as cluster:  # the head has no CPU
        process = start(root, "--address", cluster.address, *CELLS)
        time.sleep(10)
        assert process.poll() is None
        assert made(root) == 0, "something was computed on a head without CPUs"
        first = cluster.add(cpus=1)
        wait_for(process, root, 1, "pretrain")
        cluster.add(cpus=1)
        wait_for(process, root, made(root) + 2)
        cluster.remove(first)  # with what ran there
        finish(process)
    assert is_undisturbed(root, miniature_store, cells=4)


@pytest.mark.timeout(900)
def test_two_workers_on_two_nodes_train_the_model_of_one_process(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    run(one, "--local", *CLEAN)
    with Raylets() as cluster:
        cluster.add(cpus=1)
        cluster.add(cpus=1)
        finish(start(two, "--address", cluster.address, "--workers", "2", *CLEAN))
    (key,) = Store(one).keys("pretrain")
    models = [Store(root).find("pretrain", key) for root in (one, two)]
    assert all(models)
    here, there = (load_file(model.path("model.safetensors")) for model in models if model)
    assert here.keys() == there.keys()
    far = {name: float((here[name].float() - there[name].float()).abs().max()) for name in here}
    assert max(far.values()) < 2e-3, max(far.items(), key=lambda item: item[1])


@pytest.mark.timeout(900)
def test_two_groups_train_side_by_side(tmp_path: Path) -> None:
    """Two models, two workers each, on two nodes of two CPUs; a group's seconds are those of its first worker."""
    words = ("--only", "attack=clean,repair=none", "--set", "pretrain.norm_group=64", "--set", "pretrain.epochs=16")
    with Raylets() as cluster:
        cluster.add(cpus=2)
        cluster.add(cpus=2)
        finish(start(tmp_path, "--address", cluster.address, "--workers", "2", *words))
    manifests = list(tmp_path.glob("pretrain/*/manifest.json"))
    ends = [manifest.stat().st_mtime for manifest in manifests]
    begins = [
        end - json.loads(manifest.read_text())["facts"]["wall_s"] for end, manifest in zip(ends, manifests, strict=True)
    ]
    assert len(manifests) == 2
    assert max(begins) < min(ends)


@pytest.mark.timeout(900)
def test_two_threads_here_and_two_on_ray_give_the_same_bits(tmp_path: Path) -> None:
    words = (*CELLS, "--set", "threads=2")
    run(tmp_path / "here", "--local", *words)
    run(tmp_path / "ray", *words)
    assert records(tmp_path / "ray", part=True) == records(tmp_path / "here", part=True)
