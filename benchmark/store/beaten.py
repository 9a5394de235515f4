"""Weights that finished searches do not stand on: epochs of trials that later trials beat.

Only of searches with `front_strips`: what more trials choose was never beaten, and a smaller search that lacks weights
runs those trials again (`stages/kept.py`).
"""

from __future__ import annotations

import importlib
import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from benchmark.store.artifact import Artifact
from benchmark.store.artifacts import Store

_WEIGHTS = re.compile(r"epoch-(\d+)\.(safetensors|json)")


class Weights(NamedTuple):
    """A file of a trial's artifact."""

    name: str  # from the store's root
    size: int  # bytes


def beaten(store: Store) -> Iterator[Weights]:
    """Weights in the writable place that no record stands on, of trials whose every record is final."""
    tried, needed, chosen = set[str](), set[str](), set[tuple[str, int]]()
    for record in filter(None, (store.own.find("record", key) for key in store.own.keys("record"))):
        rows = _rows(record, "records.parquet")
        (tried if record.facts.get("final") and _has_strips(rows) else needed).update(_trials(record))
        for row in [*rows, *_rows(record, "front.parquet")]:
            sources: list[dict[str, Any]] = row.get("sources") or []
            chosen |= {(source["model"], source["epoch"]) for source in sources if source["model_stage"] == "defend"}
    for key, manifest in store.own.manifests("defend", sorted(tried - needed)).items():
        for file in manifest.files:
            epoch = _WEIGHTS.fullmatch(file)
            if epoch and (key, int(epoch[1])) not in chosen:
                yield Weights(f"defend/{key}/{manifest.attempt}/{file}", manifest.sizes.get(file, 0))


def drop(store: Store, names: Iterable[str]) -> None:
    """Takes weights out of the manifests of their artifacts, so that no reader looks for what is about to go."""
    by_key: defaultdict[str, list[str]] = defaultdict(list)
    for name in names:
        _, key, _, file = name.split("/")
        by_key[key].append(file)
    for key, manifest in store.own.manifests("defend", by_key).items():
        store.own.write_manifest("defend", key, manifest.without(by_key[key]))


def _rows(record: Artifact, file: str) -> list[dict[str, Any]]:
    parquet: Any = importlib.import_module("pyarrow.parquet")  # which has no annotations
    return parquet.read_table(record.path(file)).to_pylist() if file in record.hashes else []


def _has_strips(rows: Iterable[dict[str, Any]]) -> bool:
    specifications: list[dict[str, Any]] = [json.loads(row.get("specification") or "{}") for row in rows]
    searches: list[dict[str, Any]] = [one.get("search") or {} for one in specifications]
    return all(search.get("front_strips") for search in searches)


def _trials(record: Artifact) -> set[str]:
    return {row["artifact"] for row in _rows(record, "trials.parquet") if row["artifact"]}
