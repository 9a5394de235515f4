"""Copies of what others made: a suite's artifacts, or one of them, from read-only stores into the writable one."""

from __future__ import annotations

import json
import shutil
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from benchmark.config.plugins import copies_named
from benchmark.errors import must, unknown
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
        raise must("pull", "given the store to copy from", (), "name it with --from URL")
    store.require_writable()
    sources = [Store(url) for url in store.behind]
    documents = (source.read_json(f"suites/{name}.json") for source in sources)
    document = next((found for found in documents if found is not None), None)
    if document is None:
        yield from _one(store, sources, name)
        return
    refs = [ref for ref in _refs(store, document) if not stages or ref[0] in stages]
    for stage, key in refs:
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
    """All that a suite's cells are made of, their records, and what was measured on these."""
    records = {cell["record"]: None for cell in document["cells"]}
    nodes = [(stage, key) for cell in document["cells"] for stage, key in cell.get("nodes", ())]
    measured = store.facts_of("measure", store.keys("measure"))
    measures = [("measure", key) for key, facts in measured.items() if not records.keys().isdisjoint(facts["cells"])]
    return list(dict.fromkeys([*nodes, *(("record", key) for key in records), *measures]))


def _bases(found: Artifact | None) -> list[str]:
    """Keys of the models from which those of an artifact differ."""
    if found is None or found.stage not in _MODELS:
        return []
    sidecars = (json.loads(found.path(name).read_text()) for name in found.hashes if name.endswith(".json"))
    bases = (sidecar.get("base") for sidecar in sidecars if isinstance(sidecar, dict))
    return [base["artifact"] for base in bases if isinstance(base, dict) and base.get("artifact")]
