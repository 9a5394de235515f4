"""How far models that were made here are those whose results are published: bits, else predictions, CA and ASR."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from benchmark.bundle.outcomes import READOUT
from benchmark.bundle.unpack import Shelves
from benchmark.store.artifact import Artifact
from benchmark.store.artifacts import Store

LEAST_EQUAL, MOST_APART = 0.98, 0.02  # of predictions; of CA and ASR: then a model counts as reproduced
NUMERICS = ("torch", "device", "cpu_capability", "threads", "micro_batch")  # where these are equal, bits should be
WEIGHTS = "model.safetensors"


class Reproduced(NamedTuple):
    """One model that was made here and there."""

    label: str  # objective, attack, seed
    bits: bool  # the weights are equal
    same_machine: bool  # all of NUMERICS are equal
    equal: float  # share of predictions on test that are
    accuracy: float  # CA here minus there
    asr: float | None  # ASR here minus there, the largest in magnitude of several triggers; None without an attack

    @property
    def alike(self) -> bool:
        """Whether it may stand for the published one."""
        return self.bits or (
            self.equal >= LEAST_EQUAL and abs(self.accuracy) <= MOST_APART and abs(self.asr or 0.0) <= MOST_APART
        )


def reproduced(store: Store, published: Shelves) -> list[Reproduced]:
    """Every model of a published suite that was made and evaluated in this store too, in the published order."""
    there = Store(published.outcomes)
    labels = dict(_labels(Store(published.records)))
    found: dict[str, list[tuple[Artifact, Artifact]]] = {}
    for key, facts in there.facts_of("evaluate", there.keys("evaluate")).items():
        model = facts["model"]
        if model["stage"] == "pretrain" and (own := store.own.find("evaluate", key)):
            theirs = there.find("evaluate", key)
            assert theirs is not None
            found.setdefault(model["key"], []).append((own, theirs))
    return [_compared(store, there, key, labels[key], found[key]) for key in labels if key in found]


def told(found: list[Reproduced]) -> list[str]:
    """The same in lines for a user; none where nothing was made that is published."""
    if not found:
        return []
    exact, alike = sum(one.bits for one in found), sum(one.alike and not one.bits for one in found)
    parts = [f"{exact} of {len(found)} equal to the bit"]
    parts += [f"{alike} alike (98 % of predictions equal, CA and ASR within 2 points)"] if alike else []
    lines = [f"published models: {', '.join(parts)}"]
    for one in found:
        if not one.alike:
            asr = "" if one.asr is None else f", ASR {100 * one.asr:+.1f}"
            why = "although torch, CPU and threads are equal" if one.same_machine else "torch, CPU or threads differ"
            lines.append(
                f"not reproduced: {one.label}: {one.equal:.1%} of predictions equal, CA {100 * one.accuracy:+.1f}{asr} "
                f"points ({why}); rows on this model do not compare with the published ones"
            )
    return lines


def _labels(records: Store) -> Iterator[tuple[str, str]]:
    """Key of each published model, and what it is."""
    for name in records.list_json("suites"):
        document: dict[str, Any] = records.read_json(f"suites/{name}.json") or {"cells": []}
        for cell in document["cells"]:
            record = records.find("record", cell["record"])
            if record is None or cell["repair"] != "none" or cell.get("detector", "none") != "none":
                continue
            text = pq.read_table(record.path("records.parquet"), columns=["artifacts"])["artifacts"][0].as_py()
            names = [cell[axis].partition("(")[0] for axis in ("objective", "attack")]
            yield json.loads(text)["pretrain"], " · ".join([*names, f"seed {cell['seed']}"])


def _compared(store: Store, there: Store, key: str, label: str, pairs: list[tuple[Artifact, Artifact]]) -> Reproduced:
    """One model by all of its evaluations."""
    equal = total = 0
    accuracy, asr = 0.0, None
    for own, theirs in pairs:
        ours, published = (_predictions(artifact) for artifact in (own, theirs))
        rows = [(true, ours[row][1], there_) for row, (true, there_) in published.items() if row in ours]
        equal, total = equal + sum(here == there_ for _, here, there_ in rows), total + len(published)
        target = theirs.facts.get("target")
        if theirs.facts["attack"] is None:
            accuracy = _share([here == true for true, here, _ in rows]) - _share([t == true for true, _, t in rows])
        elif target is not None:
            others = [row for row in rows if row[0] != target]
            gap = _share([here == target for _, here, _ in others]) - _share([t == target for *_, t in others])
            asr = gap if asr is None or abs(gap) > abs(asr) else asr
    own, theirs = pairs[0]
    same = all(own.facts.get(name) == theirs.facts.get(name) for name in NUMERICS)
    bits = {_hash(store, key), _hash(there, key)}
    return Reproduced(label, len(bits) == 1 and None not in bits, same, equal / max(total, 1), accuracy, asr)


def _predictions(artifact: Artifact) -> dict[int, tuple[int, int]]:
    """Image -> its class and what it was taken for."""
    table: pa.Table = pq.read_table(
        artifact.path("outcomes.parquet"),
        columns=["id", "true_class", "predicted"],
        filters=[("readout", "=", READOUT)],
    )
    columns = [table[name].to_pylist() for name in ("id", "true_class", "predicted")]
    return {row: (true, predicted) for row, true, predicted in zip(*columns, strict=True)}


def _hash(store: Store, key: str) -> str | None:
    """Of a model's weights; a published one has no files here, but their hashes."""
    found = store.find("pretrain", key)
    if found is None:
        return None
    return found.hashes.get(WEIGHTS) or found.facts.get("published_files", {}).get(WEIGHTS)


def _share(values: list[bool]) -> float:
    return sum(values) / max(len(values), 1)
