"""The graph of nodes: what is ready, in which order, and how failures travel. Made-up stages, no store."""

from __future__ import annotations

import pytest

from benchmark.engine.graph import NodeGraph
from benchmark.stages.node import Ended, Node, Ref, Stage

pytestmark = pytest.mark.unit


class Early(Stage):
    """Goes first."""

    name = "early"
    rank = 0


class Late(Stage):
    """Goes last."""

    name = "late"
    rank = 1


def node(key: str, *inputs: str, after: tuple[str, ...] = (), work: float = 1.0, stage: Stage | None = None) -> Node:
    refs, rest = (tuple(Ref("early", name) for name in names) for names in (inputs, after))
    return Node(stage or Early(), key, key, refs, rest, work)


def keys(nodes: list[Node]) -> list[str]:
    return [item.key for item in nodes]


def graph(*nodes: Node) -> NodeGraph:
    made = NodeGraph()
    made.add(nodes)
    return made


def end(made: NodeGraph, key: str, ended: Ended) -> None:
    made.begin(Ref("early", key))
    made.end(Ref("early", key), ended)


def test_a_node_is_ready_when_all_that_it_waits_for_has_ended() -> None:
    made = graph(node("c", "a", "b"), node("a"), node("b"))
    assert keys(made.ready()) == ["a", "b"]
    end(made, "a", Ended("ok"))
    assert keys(made.ready()) == ["b"]
    end(made, "b", Ended("ok"))
    assert keys(made.ready()) == ["c"]
    end(made, "c", Ended("ok"))
    assert made.done


def test_nodes_that_wait_for_each_other_are_told() -> None:
    made = graph(node("a"), node("b", "a", "c"), node("c", after=("b",)))
    assert keys(made.ready()) == ["a"]  # the longest way behind it ends, though it goes round
    assert made.stuck() == []
    made.begin(Ref("early", "a"))
    assert made.stuck() == []
    made.end(Ref("early", "a"), Ended("ok"))
    assert keys(made.stuck()) == ["b", "c"]


def test_one_name_is_one_node_that_waits_for_what_either_waits_for() -> None:
    made = graph(node("a"), node("b"), node("c", "a"))
    assert made.add([node("c", "b")]) == []
    end(made, "a", Ended("ok"))
    assert keys(made.ready()) == ["b"]


def test_what_a_result_adds_is_waited_for_by_what_has_not_begun() -> None:
    made = graph(node("choice"), node("record", "choice"))
    end(made, "choice", Ended("ok"))
    assert keys(made.ready()) == ["record"]
    made.add([node("outcomes"), node("record", "outcomes")])
    assert keys(made.ready()) == ["outcomes"]
    end(made, "outcomes", Ended("ok"))
    assert keys(made.ready()) == ["record"]


def test_a_failure_is_handed_down_as_the_first_cause_in_the_order_of_the_inputs() -> None:
    for order in ("ab", "ba"):
        made = graph(node("a"), node("b"), node("c", "a", "b"))
        for key in order:
            end(made, key, Ended("failed", f"{key} broke"))
        (lost,) = made.ready()
        assert made.cause(lost) == Ended("failed", "a broke")


def test_what_comes_after_a_failure_is_made_all_the_same_and_told_of_it() -> None:
    made = graph(node("a"), node("b"), node("c", after=("b", "a")))
    end(made, "a", Ended("out_of_memory", "2 GiB"))
    end(made, "b", Ended("ok"))
    (told,) = made.ready()
    assert made.cause(told) is None
    assert [(ref.key, item.status) for ref, item in made.of(told.ref).items()] == [("b", "ok"), ("a", "out_of_memory")]


def test_the_urgent_go_first_and_of_those_the_longest_chains() -> None:
    made = graph(
        node("late", stage=Late(), work=9.0),
        node("short", work=2.0),
        node("long", work=1.0),
        node("behind", "long", work=5.0),
    )
    assert keys(made.ready()) == ["long", "short", "late"]


def test_an_input_that_is_no_node_is_there_already() -> None:
    made = graph(node("a", "made by a trial"))
    assert keys(made.ready()) == ["a"]
