"""How many workers a run has: with a pretended Ray, whose workers are ready when the test says so."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from ray.exceptions import RayActorError, RayTaskError

from benchmark.config.compute_options import ComputeOptions
from benchmark.engine import ray_slots, ray_workers
from benchmark.engine.ray_workers import Ready, WorkerPool
from benchmark.errors import UserError

pytestmark = pytest.mark.ray


class Cluster:
    """Nodes and workers of a pretended Ray."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *nodes: dict[str, float]) -> None:
        self.nodes = list(nodes)
        self.started: list[int] = []
        self.killed: list[int] = []
        self.said: list[str] = []
        pretended = SimpleNamespace(nodes=self.list_nodes, get=self.answer, kill=self.killed.append)
        monkeypatch.setattr(ray_workers, "ray", pretended)
        monkeypatch.setattr(ray_workers, "LOOK_S", 0.0)
        monkeypatch.setattr(ray_workers, "PATIENCE_S", 0.0)
        monkeypatch.setattr(ray_slots, "BOOTSTRAP", "/nowhere.yaml")

    def answer(self, reference: Exception | None) -> dict[str, str]:
        if reference:
            raise reference
        return {"device": "cpu"}

    def list_nodes(self) -> list[dict[str, Any]]:
        return [{"Alive": True, "Resources": own} for own in self.nodes]

    def pool(self, *, own: bool, **asked: Any) -> WorkerPool:
        return WorkerPool(
            ComputeOptions(**asked), own=own, make=self.make, tell=lambda ready: None, say=self.said.append
        )

    def make(self, slot: int, shape: Any) -> Any:
        self.started.append(slot)
        future = SimpleNamespace(add_done_callback=lambda call: None)
        return Handle(slot, SimpleNamespace(remote=lambda: SimpleNamespace(future=lambda: future)))


class Handle(int):
    """A worker that is known by its slot."""

    def __new__(cls, slot: int, ready: Any) -> Handle:
        found = super().__new__(cls, slot)
        found.ready = ready
        return found

    ready: Any


def warm(pool: WorkerPool, *slots: int) -> None:
    for slot in slots:
        pool.take_in(Ready(slot, None))


def test_a_ray_of_our_own_has_all_its_workers_at_once_and_keeps_them(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Cluster(monkeypatch, {"CPU": 2})
    pool = cluster.pool(own=True)
    pool.scale(1)
    assert cluster.started == [0, 1]
    warm(pool, 0, 1)
    monkeypatch.setattr(ray_workers, "REST_S", 0.0)
    pool.scale(0)
    assert (pool.slots.count, cluster.killed, cluster.said) == (2, [], [])


def test_a_joined_cluster_is_asked_for_as_many_as_have_something_to_do_and_gets_back_what_rests(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cluster = Cluster(monkeypatch, {"CPU": 8})
    pool = cluster.pool(own=False)
    pool.scale(3)
    assert cluster.started == [0, 1, 2]
    warm(pool, 0, 1)
    pool.scale(2)  # the third is on its way, and may be wanted in a moment
    assert cluster.killed == []
    with monkeypatch.context() as later:
        later.setattr(ray_workers, "REST_S", 0.0)
        busy = [pool.slots.take(), pool.slots.take()]
        pool.scale(2)
        for slot in busy:
            pool.slots.give(slot or 0)
    assert (cluster.killed, pool.slots.count) == ([2], 2)
    pool.take_in(Ready(2, None))  # and answers all the same
    assert pool.slots.count == 2
    busy = pool.slots.take()
    pool.scale(1)
    assert cluster.killed == [2]  # nobody has rested for long
    monkeypatch.setattr(ray_workers, "REST_S", 0.0)
    pool.scale(1)
    assert cluster.killed == [2, 1]
    assert busy == 0
    pool.scale(20)
    assert len(cluster.started) == 3 + 7


def test_a_pool_grows_with_the_nodes_that_join_and_says_what_it_waits_for(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Cluster(monkeypatch, {})
    pool = cluster.pool(own=False, gpus_per_slot=1.0)
    pool.scale(1)
    pool.scale(1)
    assert cluster.said == ["waiting for a node with 1 GPU"]  # once
    cluster.nodes += [{"CPU": 4, "GPU": 1}]
    pool.scale(4)
    assert cluster.started == [0]
    warm(pool, 0)
    cluster.nodes += [{"CPU": 4, "GPU": 2}]
    pool.scale(4)
    assert cluster.started == [0, 1, 2]
    cluster.nodes = [{}]  # all are gone, and come back
    pool.scale(4)
    assert (pool.shape.most, cluster.killed) == (3, [])
    assert cluster.said == ["waiting for a node with 1 GPU"]


def test_without_a_word_about_slots_a_run_waits_for_a_node_and_says_how_to_ask_for_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cluster = Cluster(monkeypatch, {})
    pool = cluster.pool(own=False)
    pool.scale(5)
    assert cluster.started == []
    assert "--gpus or --cpus" in cluster.said[0]
    cluster.nodes += [{"CPU": 1}]
    pool.scale(5)
    assert cluster.started == [0]


def test_what_a_worker_group_has_taken_is_not_started_again_before_it_is_given_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cluster = Cluster(monkeypatch, {"CPU": 3})
    pool = cluster.pool(own=True)
    pool.scale(1)
    warm(pool, 0, 1, 2)
    for slot in (0, 1):
        pool.end(slot)
    pool.scale(9, lent=2)
    assert (pool.slots.count, len(cluster.started)) == (1, 3)
    pool.scale(9)
    assert len(cluster.started) == 5


def test_a_worker_that_is_lost_before_it_is_ready_is_replaced_but_not_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Cluster(monkeypatch, {"CPU": 1})
    pool = cluster.pool(own=True)
    pool.scale(1)
    pool.take_in(Ready(0, RayActorError(error_msg="its node died")))
    pool.scale(1)
    assert (cluster.started, cluster.killed) == ([0, 1], [0])
    warm(pool, 1)  # which ends the row
    pool.end(1)
    for slot in (2, 3):
        pool.scale(1)
        pool.take_in(Ready(slot, RayActorError(error_msg="its node died")))
    pool.scale(1)
    with pytest.raises(RuntimeError, match="a worker could not start: RayActorError: its node died"):
        pool.take_in(Ready(4, RayActorError(error_msg="its node died")))


def test_a_worker_whose_own_start_fails_ends_the_run_at_once_and_a_users_mistake_is_told_as_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cluster = Cluster(monkeypatch, {"CPU": 2})
    pool = cluster.pool(own=True)
    pool.scale(1)
    with pytest.raises(RuntimeError, match="no module"):
        pool.take_in(Ready(0, RayActorError(error_msg="no module", actor_init_failed=True)))
    mistake = RayTaskError("ready", "traceback", UserError("--store must be shared"))
    with pytest.raises(UserError, match="--store must be shared"):
        pool.take_in(Ready(1, mistake))
