"""What a slot of a cluster is: from the nodes that there are, those that may be rented, and what the user asks for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from benchmark.config.compute_options import ComputeOptions
from benchmark.engine import ray_slots
from benchmark.engine.ray_slots import ANY_NUMBER, Offer, Shape, offers_of, rentable, shape_of
from benchmark.errors import UserError

pytestmark = pytest.mark.unit
CLUSTER = Path(__file__).parents[2] / "cluster.yaml"
HEAD = {"Alive": True, "Resources": {"node:__internal_head__": 1.0}}  # of a head with 0 CPU Ray lists none


def node(cpus: float, gpus: float = 0.0, *, alive: bool = True) -> dict[str, Any]:
    return {"Alive": alive, "Resources": {"CPU": cpus} | ({"GPU": gpus} if gpus else {})}


@pytest.mark.parametrize(
    ("asked", "offers", "shape"),
    [
        ({}, [Offer(2, 0)], Shape(1, 0, 1, 2)),  # a laptop
        ({"concurrency": 1}, [Offer(2, 0)], Shape(2, 0, 2, 1)),  # fewer slots have more threads
        ({"concurrency": 4}, [Offer(2, 0)], Shape(0.5, 0, 1, 4)),
        ({"cpus_per_slot": 2.0}, [Offer(5, 0)], Shape(2, 0, 2, 2)),  # half a slot is none
        ({"cpus_per_slot": 2.0}, [Offer(3, 0, 2)], Shape(2, 0, 2, 2)),  # nor are two halves on two nodes
        ({"concurrency": 1}, [Offer(4, 0, 3)], Shape(4, 0, 4, 1)),  # a slot lies on one node
        ({}, [Offer(16, 1)], Shape(16, 1, 16, 1)),
        ({}, [Offer(96, 8, 2), Offer(64, 0)], Shape(12, 1, 12, 16)),  # where there are GPUs, nothing runs beside them
        ({"gpus_per_slot": 0.25}, [Offer(16, 1, 8)], Shape(4, 0.25, 4, 32)),
        ({"gpus_per_slot": 1.0, "cpus_per_slot": 3.0}, [Offer(16, 1)], Shape(3, 1, 3, 1)),
    ],
)
def test_a_slot_is_a_gpu_or_the_share_that_is_asked_for_and_where_there_is_none_a_cpu(
    asked: dict[str, Any], offers: list[Offer], shape: Shape
) -> None:
    assert shape_of(ComputeOptions(**asked), offers) == shape


def test_where_no_node_has_anything_it_is_what_the_user_asks_for_and_else_not_known() -> None:
    assert shape_of(ComputeOptions(), [Offer(0, 0)]) is None
    assert shape_of(ComputeOptions(gpus_per_slot=0.5), []) == Shape(1, 0.5, 1, ANY_NUMBER)
    assert shape_of(ComputeOptions(cpus_per_slot=4.0, concurrency=3), []) == Shape(4, 0, 4, 3)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"cpus_per_slot": 5.0}, "--cpus must be at most the 4 CPUs of the largest node, got 5.0"),
        ({"gpus_per_slot": 1.0}, "--gpus must be at most the 0 GPUs of the largest node, got 1.0"),
    ],
)
def test_a_slot_that_is_larger_than_every_node_is_refused(asked: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        shape_of(ComputeOptions(**asked), [Offer(4, 0, 2), Offer(2, 0)], fixed=True)


def test_on_a_cluster_that_others_may_join_it_is_waited_for() -> None:
    there = [Offer(4, 0, 2), Offer(2, 0)]
    assert shape_of(ComputeOptions(gpus_per_slot=1.0, concurrency=2), there) == Shape(1, 1, 1, 2)
    assert shape_of(ComputeOptions(cpus_per_slot=5.0), there) == Shape(5, 0, 5, ANY_NUMBER)
    assert shape_of(ComputeOptions(cpus_per_slot=3.0), there) == Shape(3, 0, 3, 2)


def test_the_shipped_cluster_file_is_asked_for_its_gpus_before_any_node_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`ray up` fills in what an instance type has, and leaves the file on the head, where jobs run."""
    found = yaml.safe_load(CLUSTER.read_text())
    found["available_node_types"]["gpu"]["resources"] = {"CPU": 16, "GPU": 1}
    (file := tmp_path / "ray_bootstrap_config.yaml").write_text(yaml.safe_dump(found))
    monkeypatch.setattr(ray_slots, "BOOTSTRAP", str(file))
    assert offers_of([HEAD]) == [Offer(0, 0), Offer(16, 1, 8)]
    assert shape_of(ComputeOptions(), offers_of([HEAD])) == Shape(16, 1, 16, 8)
    joined = [HEAD, node(16, 1), node(16, 1, alive=False)]
    assert shape_of(ComputeOptions(), offers_of(joined)) == Shape(16, 1, 16, 8)  # a rented node is not counted twice
    assert offers_of(joined, rent=False) == [Offer(0, 0), Offer(16, 1)]


@pytest.mark.parametrize("text", ["", "- a list", "available_node_types: {", "head_node_type: head"])
def test_a_cluster_file_that_says_nothing_rents_nothing(text: str, tmp_path: Path) -> None:
    (file := tmp_path / "file.yaml").write_text(text)
    assert rentable(file) == rentable(tmp_path / "none.yaml") == []


def test_the_most_workers_of_a_cluster_bound_those_of_its_types(tmp_path: Path) -> None:
    types = {"head": {"resources": {"CPU": 8}}, "a": {"resources": {"CPU": 4}}, "b": {"max_workers": 2}}
    text = {"max_workers": 5, "head_node_type": "head", "available_node_types": types}
    (file := tmp_path / "file.yaml").write_text(yaml.safe_dump(text))
    assert rentable(file) == [Offer(4, 0, 5)]


def test_what_is_waited_for_is_said_as_a_node_would_have_it() -> None:
    assert [str(Shape(4, 1, 4, 1)), str(Shape(4, 0.5, 4, 1)), str(Shape(2, 0, 2, 1))] == ["1 GPU", "0.5 GPU", "2 CPUs"]
    assert Shape(4, 1, 4, 1).fits(Offer(4, 2))
    assert not Shape(4, 1, 4, 1).fits(Offer(3, 2))
