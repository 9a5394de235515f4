"""cluster.yaml's shape under Ray's real autoscaler: a head without CPU and GPU, GPU workers from zero, and back."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.cluster.fake_cloud import FakeCloud
from tests.helpers.miniature import is_undisturbed, start

pytestmark = [pytest.mark.slow, pytest.mark.ray]
ROOT = Path(__file__).parents[2]
CELLS = ("--only", "objective=mmcl,attack=badnet,attack=clean", "--only", "repair=none,repair=cleanclip")
IDLE_S = 6.0


@pytest.fixture
def folder() -> Iterator[Path]:
    """Where the cluster keeps its files; short, since its sockets' paths may have 107 characters."""
    with tempfile.TemporaryDirectory(prefix="bs-", ignore_cleanup_errors=True) as made:
        yield Path(made)


def test_the_fake_cloud_has_the_shape_of_the_shipped_file(tmp_path: Path) -> None:
    shipped = yaml.safe_load((ROOT / "cluster.yaml").read_text())["available_node_types"]
    fake = FakeCloud(tmp_path, {"CPU": 1, "GPU": 1}, max_workers=2, idle_s=IDLE_S, version=2).cluster
    head, worker = (fake["available_node_types"][name] for name in ("ray.head.default", "gpu"))
    assert head["resources"] == shipped["head"]["resources"]
    assert worker["min_workers"] == shipped["gpu"]["min_workers"] == 0


@pytest.mark.timeout(900)
@pytest.mark.parametrize("version", [1, 2])
def test_a_run_rents_what_it_asks_for_and_gives_it_back(
    version: int, tmp_path: Path, folder: Path, miniature_store: Path
) -> None:
    root, seen = tmp_path / "store", set[int]()
    with FakeCloud(folder, {"CPU": 1, "GPU": 1}, max_workers=2, idle_s=IDLE_S, version=version) as cloud:
        assert cloud.nodes() == 0
        process = start(root, "--address", cloud.address, "--gpus", "1", "--concurrency", "2", *CELLS)
        while process.poll() is None:
            seen.add(cloud.nodes())
            time.sleep(0.5)
        printed, complaints = process.communicate()
        assert process.returncode == 0, printed + complaints
        end = time.monotonic() + 10 * IDLE_S
        while cloud.nodes() and time.monotonic() < end:
            time.sleep(0.5)
        assert cloud.nodes() == 0
    assert max(seen) == 2
    assert complaints == ""
    assert is_undisturbed(root, miniature_store, cells=4)
