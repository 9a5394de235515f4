"""A run on several nodes does not begin where one of them does not see the store."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from benchmark.engine import shared_store
from benchmark.engine.shared_store import Marker, check_shared, marked, not_shared, what_is_wrong
from benchmark.errors import UserError
from benchmark.store.artifacts import Store
from tests.cluster.raylets import Raylets


def test_a_node_sees_what_the_driver_wrote_and_nothing_of_it_stays(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with marked(store) as marker:
        assert marker is not None
        assert what_is_wrong(marker) is None
        assert what_is_wrong(marker._replace(text="another disk's"), patience_s=0) == "does not see it"
    assert what_is_wrong(marker, patience_s=0) == "does not see it"
    assert not list((tmp_path / "scratch").rglob("*marker*"))


def test_a_node_that_may_not_write_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write everywhere
    with marked(Store(tmp_path)) as marker:
        assert marker is not None
        assert what_is_wrong(marker) == "may not write there"


def test_a_store_at_a_url_is_not_asked_about() -> None:
    with marked(Store("memory://shared")) as marker:
        assert marker is None


def test_the_line_names_the_node_and_what_to_do(tmp_path: Path) -> None:
    line = str(not_shared(Store(tmp_path), "worker-7", "does not see it"))
    assert line == (
        f"--store must be a folder that every node of the cluster shares, got {str(tmp_path)!r}; "
        "worker-7 does not see it: mount it there at the same path, or give a URL as s3://…"
    )


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.timeout(300)
def test_nodes_are_asked_in_their_own_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two raylets, one of which looks for the store in vain; `test_ray_up.py` hides it from a host for good."""
    import ray

    store = Store(tmp_path)
    with Raylets(cpus=1) as cluster, monkeypatch.context() as patch:
        ray.init(cluster.address, logging_level="ERROR", log_to_driver=False)
        try:
            check_shared(store)  # nobody else is there
            cluster.add(cpus=1)
            check_shared(store)
            here = os.getpid()

            def elsewhere(marker: Marker, patience_s: float) -> str | None:
                return what_is_wrong(marker) if os.getpid() == here else "does not see it"

            patch.setattr(shared_store, "what_is_wrong", elsewhere)
            with pytest.raises(UserError, match="does not see it: mount it there"):
                check_shared(store)
        finally:
            ray.shutdown()
