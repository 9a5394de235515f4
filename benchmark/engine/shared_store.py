"""A run on several nodes and a store that is a folder: every node that computes has to see that folder.

Nodes that do not would each make artifacts on a disk of their own. A small file is written into the store, and the
other nodes look for it: those that are there before anything is computed, a later one when its worker starts.
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import ray
from ray import exceptions
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from benchmark.errors import UserError, must, reason_of
from benchmark.store.artifacts import Store

PATIENCE_S = 10.0  # how long a network file system may take to show a new file
LIMIT_S = 60.0  # how long nodes may take to answer, the start of a process there in it


class Marker(NamedTuple):
    """A small file in a store, and what it says."""

    path: Path
    text: str


@contextmanager
def marked(store: Store) -> Iterator[Marker | None]:
    """Puts a marker into the store meanwhile; None for a store at a URL, which every node reaches."""
    if store.local_root is None:
        yield None
        return
    text = uuid.uuid4().hex
    marker = Marker(store.scratch("shared", text).resolve() / "marker", text)
    marker.path.write_text(text)
    try:
        yield marker
    finally:
        store.clear_scratch("shared", text)


def what_is_wrong(marker: Marker, patience_s: float = PATIENCE_S) -> str | None:
    """Why the store is none for this node, "does not see it" or "may not write there"; None where it is."""
    end = time.monotonic() + patience_s
    while not _reads(marker):
        if time.monotonic() >= end:
            return "does not see it"
        time.sleep(0.2)
    return None if os.access(marker.path.parent, os.W_OK) else "may not write there"


def _reads(marker: Marker) -> bool:
    try:
        return marker.path.read_text() == marker.text
    except OSError:
        return False


def check_shared(store: Store, *, limit_s: float = LIMIT_S, patience_s: float = PATIENCE_S) -> None:
    """Asks every other node that computes; who does not answer in time is asked again when a worker starts there.

    Raises:
        UserError: one of them does not see the store, or may not write to it.
    """
    with marked(store) as marker:
        if marker is None:
            return
        asked = {_ask(node, marker, patience_s): node["NodeManagerHostname"] for node in _others()}
        answered, late = ray.wait(list(asked), num_returns=len(asked), timeout=limit_s) if asked else ([], [])
        for reference in late:
            ray.cancel(reference, force=True)
        for reference in answered:
            wrong = _answer(reference)
            if wrong:
                raise not_shared(store, asked[reference], wrong)


def not_shared(store: Store, node: str, wrong: str) -> UserError:
    """The line for a node that does not see a store."""
    remedy = f"{node} {wrong}: mount it there at the same path, or give a URL as s3://…"
    return must("--store", "a folder that every node of the cluster shares", store.root, remedy)


def _ask(node: dict[str, Any], marker: Marker, patience_s: float) -> Any:
    there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
    look: Any = ray.remote(what_is_wrong)
    return look.options(num_cpus=0, max_retries=0, scheduling_strategy=there).remote(marker, patience_s)


def _others() -> list[dict[str, Any]]:
    """The other nodes that are alive and have something to compute with."""
    here = ray.get_runtime_context().get_node_id()
    alive = [node for node in ray.nodes() if node["Alive"] and node["NodeID"] != here]
    return [node for node in alive if node["Resources"].keys() & {"CPU", "GPU"}]


def _answer(reference: Any) -> str | None:
    try:
        return ray.get(reference)
    except exceptions.RayTaskError as error:  # as where this package is not installed
        return f"cannot look ({reason_of(error.cause or error)})"
    except exceptions.RayError:  # the node has gone
        return None
