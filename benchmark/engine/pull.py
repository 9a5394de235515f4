"""Copies of what others made: a suite's artifacts, or one of them, from read-only stores into the writable one."""

from __future__ import annotations

import json
import shutil
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, NamedTuple

import pyarrow.parquet as pq

from benchmark.config.plugins import copies_named
from benchmark.errors import UserError, must, unknown
from benchmark.stages.every import EVERY
from benchmark.store.artifact import Artifact
from benchmark.store.artifacts import Store

_MODELS = ("pretrain", "defend")  # whose weights may be kept as a difference from another's


class Pulled(NamedTuple):
    """An artifact that was asked for and found."""

    stage: str
    key: str
    size: int  # bytes that were copied; 0 where it was there


def pull(store: Store, name: str, stages: Collection[str] = ()) -> Iterator[Pulled]:
    """Copies what a suite was found to be made of, or the artifact of a key with the models that it differs from.

    Args:
        store: where it is copied to, with the places behind it that it comes from.
        name: of a suite that was run there, or an artifact's whole key.
        stages: of a suite, only these; empty for all.

    Raises:
        UserError: there is no such suite or key, or nowhere to look.
    """
    if not store.behind:
        raise UserError("pull must be given the store to copy from, got none; name it with --from URL")
    store.require_writable()
    sources = [Store(url) for url in store.behind]
    documents = (source.read_json(f"suites/{name}.json") for source in sources)
    document = next((found for found in documents if found is not None), None)
    if document is None:
        if stages:
            raise must("--stage", f"given with a suite, which {name} is none of", [*stages], "drop it")
        yield from _one(store, sources, name)
        return
    refs = _refs(store, document)
    known = {stage.name for stage in EVERY} | {stage for stage, _ in refs}
    for stage in stages:
        if stage not in known:
            raise unknown("stage", stage, known)
    for stage, key in refs:
        if not stages or stage in stages:
            yield from _copied(store, sources, stage, key)
    for place in copies_named(document.get("specification")):
        text = store.read_text(place)
        if text is not None:
            store.write_text(place, text)
    store.write_json(f"suites/{name}.json", document)


def _one(store: Store, sources: Sequence[Store], key: str) -> Iterator[Pulled]:
    """An artifact, and the models without which its weights are of no use."""
    stages = dict.fromkeys(stage for source in sources for stage in source.own.root.names(""))
    refs = [(stage, key) for stage in stages if any(source.has(stage, key) for source in sources)]
    if not refs:
        known = {suite for source in sources for suite in source.list_json("suites")}
        raise unknown("suite or key", key, known)
    seen = set[tuple[str, str]]()
    while refs:
        ref = refs.pop()
        if ref not in seen:
            seen.add(ref)
            yield from _copied(store, sources, *ref)
            refs += [("pretrain", base) for base in _bases(store.own.find(*ref))]


def _copied(store: Store, sources: Sequence[Store], stage: str, key: str) -> Iterator[Pulled]:
    if store.own.find(stage, key):
        yield Pulled(stage, key, 0)
        return
    found = next(filter(None, (source.find(stage, key, whole=True) for source in sources)), None)
    if found is None:  # a suite's document lists what is not made yet, too
        return
    draft = store.draft(stage, key)
    for name in found.hashes:
        shutil.copyfile(found.path(name), draft.path(name))
    draft.commit(found.facts)
    for place in (*sources, store):
        place.release_files()
    yield Pulled(stage, key, sum(draft.path(name).stat().st_size for name in found.hashes))


def _refs(store: Store, document: Mapping[str, Any]) -> list[tuple[str, str]]:
    """All that a suite's cells are made of, their records, what these name, and what was measured on them."""
    records = {cell["record"]: None for cell in document["cells"]}
    nodes = [(stage, key) for cell in document["cells"] for stage, key in cell.get("nodes", ())]
    measured = store.facts_of("measure", store.keys("measure"))
    measures = [("measure", key) for key, facts in measured.items() if not records.keys().isdisjoint(facts["cells"])]
    found = filter(None, (store.find("record", key) for key in records))
    named = [ref for record in found for ref in _named(record)]
    models = {*nodes, *named}
    begun = store.facts_of("rebound", store.keys("rebound"))
    rebounds = [("rebound", key) for key, facts in begun.items() if _model(facts) in models]
    return list(dict.fromkeys([*nodes, *named, *(("record", key) for key in records), *measures, *rebounds]))


def _model(rebound: Mapping[str, Any]) -> tuple[str, str]:
    """The model that a trajectory began with."""
    return rebound["model"]["stage"], rebound["model"]["key"]


def _named(record: Artifact) -> Iterator[tuple[str, str]]:
    """What no suite knows before its searches end: trials, chosen models, and outcomes behind a record's numbers."""
    yield from (("defend", key) for key in _column(record, "trials.parquet", "artifact"))
    behind = _column(record, "records.parquet", "sources") + _column(record, "front.parquet", "sources")
    for source in chain.from_iterable(behind):
        yield source["stage"], source["key"]
        if source["model"]:
            yield source["model_stage"], source["model"]


def _column(record: Artifact, file: str, name: str) -> list[Any]:
    """What stands in a column of a record's table; nothing where there is no such table, or none in an older one."""
    if file not in record.hashes:
        return []
    table = pq.read_table(record.path(file))
    return [value for value in table[name].to_pylist() if value] if name in table.column_names else []


def _bases(found: Artifact | None) -> list[str]:
    """Keys of the models from which those of an artifact differ."""
    if found is None or found.stage not in _MODELS:
        return []
    sidecars = (json.loads(found.path(name).read_text()) for name in found.hashes if name.endswith(".json"))
    bases = (sidecar.get("base") for sidecar in sidecars if isinstance(sidecar, dict))
    return [base["artifact"] for base in bases if isinstance(base, dict) and base.get("artifact")]
