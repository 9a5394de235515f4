"""The stored outcomes behind one searched cell: which test images each point of its front got right or wrong.

From them follow what no mean can say: how much the same numbers move with other test images, and how much a front that
is read by its best points flatters itself.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow.parquet as pq

from benchmark.stats import front_area
from benchmark.store.artifacts import Store
from reports.compile import HEADLINE_READOUT

COLUMNS = ["id", "true_class", "predicted", "target"]
ROLES = ("own_clean", "own_triggered", "twin_triggered")


class Outcomes(NamedTuple):
    """One cell, image by image; point 0 is the undefended model. Images are those of the test split, by rising id."""

    ids: np.ndarray  # (N,) int64
    right: np.ndarray  # (P, N) float, 1 where the clean image is classified right
    hit: np.ndarray  # (P, N) float, 1 where the triggered image is taken for the target; 0 where it does not count
    floor: np.ndarray  # (N,) float, the same of the undefended clean twin
    counts: np.ndarray  # (N,) float, 1 where the image counts for ASR: it is not of the target's class

    def areas(self, weights: np.ndarray) -> np.ndarray:
        """(B,) normalised front areas where image n stands weights[n, b] times in the test split."""
        accuracy, net = self.numbers(weights)
        return np.array(
            [front_area((accuracy[0, b], net[0, b]), np.c_[accuracy[1:, b], net[1:, b]]) for b in range(len(net[0]))]
        )

    def numbers(self, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """CA and net ASR, (P, B) each, under such weights (N, B)."""
        asked = self.counts @ weights
        return self.right @ weights / weights.sum(axis=0), (self.hit - self.floor) @ weights / asked

    def optimism(self) -> float:
        """How much of the area is owed to reading it by its best points, on half of the images; both halves' mean.

        The points that one half shows as the front are read on the other: what they keep there under each net ASR that
        the first half saw.
        """
        half = np.arange(len(self.ids)) % 2
        weights = np.c_[half, 1 - half].astype(float)
        accuracy, net = self.numbers(weights)
        return float(np.mean([_lost(accuracy[:, [a, b]], net[:, a].clip(0, 1)) for a, b in ((0, 1), (1, 0))]))


def _lost(accuracy: np.ndarray, net: np.ndarray) -> float:
    """Area of the points by `accuracy[:, 0]` minus what the same choices keep in `accuracy[:, 1]`."""
    edges = np.unique(np.r_[net, 1.0])  # between two of them the same points may be chosen
    seen = kept = 0.0
    for low, high in itertools.pairwise(edges):
        best = int(np.where(net <= low, accuracy[:, 0], -1.0).argmax())
        seen, kept = seen + accuracy[best, 0] * (high - low), kept + accuracy[best, 1] * (high - low)
    return seen / accuracy[0, 0] - kept / accuracy[0, 1]


def outcomes_of(store: Store, poison: str | None, start: Any, points: Sequence[Any]) -> Outcomes | None:
    """Reads a cell's outcome tables; None where one is not in the store, or tells nothing of a target.

    Args:
        store: where they are.
        poison: key of the attack's artifact, whose manifest names the target.
        start: sources of the undefended model's record row, structs of `schemas.SOURCE`; None in old records.
        points: those of each point of the front.
    """
    tables = [_tables(store, sources) for sources in (start, *points)]
    if any(table is None for table in tables):
        return None
    own = [table for table in tables if table is not None]
    ids = np.sort(own[0]["own_clean"].index.to_numpy())
    shown = own[0]["own_triggered"]
    target = _target(store, poison, shown)
    if target is None:
        return None
    counts = (shown["true_class"] != target).reindex(ids, fill_value=False)
    hits = [_hit(table["own_triggered"], target).reindex(ids, fill_value=0.0) * counts for table in own]
    right = [(table["own_clean"]["predicted"] == table["own_clean"]["true_class"]).reindex(ids) for table in own]
    floor = _hit(own[0]["twin_triggered"], target).reindex(ids, fill_value=0.0) * counts
    return Outcomes(ids, np.array(right, float), np.array(hits, float), floor.to_numpy(float), counts.to_numpy(float))


def hits_of(store: Store, poison: str | None, sources: Any) -> Any:
    """(images) bool by rising id: which of those that count are taken for the target; None where that is not told."""
    table = (_tables(store, sources) or {}).get("own_triggered")
    if table is None or (target := _target(store, poison, table)) is None:
        return None
    return (table["predicted"] == target)[table["true_class"] != target].sort_index()


def _tables(store: Store, sources: Any) -> dict[str, Any] | None:
    found = {}
    for source in () if sources is None else sources:
        if source["role"] in ROLES and source["split"] == "test" and source["transform"] is None:
            artifact = store.find(source["stage"], source["key"])
            if artifact is None:
                return None
            only = [("readout", "=", HEADLINE_READOUT)]
            table = pq.read_table(artifact.path(source["file"]), columns=COLUMNS, filters=only)
            found[source["role"]] = table.to_pandas().set_index("id")
    return found if "own_clean" in found and "own_triggered" in found else None


def _target(store: Store, poison: str | None, shown: Any) -> Any:
    """The class that triggered images are to be taken for: one, or each row's own; None where it is not told."""
    if (shown["target"] >= 0).any():
        return shown["target"]
    return (store.facts("poison", poison) or {}).get("target_index") if poison else None


def _hit(shown: Any, target: Any) -> Any:
    return (shown["predicted"] == target).astype(float)


def image_draws(ids: int, draws: int, *, seed: int) -> np.ndarray:
    """(N, B) how often each image stands in each of B bootstrap samples of the test split."""
    rng = np.random.default_rng(seed)
    return rng.multinomial(ids, np.full(ids, 1 / ids), size=draws).T.astype(float)
