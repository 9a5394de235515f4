"""Reads every file of a store's artifacts anew, and compares it with its manifest."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from benchmark.store.artifacts import Store
from benchmark.store.manifest import Manifest, parse_manifest
from benchmark.store.roots import Root
from benchmark.store.survey import holdings
from benchmark.store.verify import wrong_content


class Damage(NamedTuple):
    """An artifact that is not what was written."""

    stage: str
    key: str
    what: str


def damages(store: Store, *, drop: bool = False) -> Iterator[tuple[str, str, Damage | None]]:
    """Looks at each finished artifact of the writable place; the memory of what was verified before is not asked.

    Args:
        store: the store.
        drop: removes the manifest of what is damaged, so that the next run makes it again.

    Yields:
        Stage and key, and what is damaged of it.
    """
    root = store.own.root
    finished = [ref for ref, held in sorted(holdings(root.walk()).items()) if held.finished]
    for stage, key in finished:
        what = _damage(root, stage, key)
        if what and drop:
            root.remove(f"{stage}/{key}/manifest.json")
        yield stage, key, Damage(stage, key, what) if what else None


def _damage(root: Root, stage: str, key: str) -> str:
    """What is wrong with an artifact; "" where nothing is."""
    data = root.read(f"{stage}/{key}/manifest.json")
    if data is None:  # removed since
        return ""
    try:
        manifest = parse_manifest(data)
    except ValueError as error:
        return f"manifest.json: {error}"
    return next(filter(None, _wrong_files(root, f"{stage}/{key}/{manifest.attempt}", manifest)), "")


def _wrong_files(root: Root, place: str, manifest: Manifest) -> Iterable[str]:
    for name, expected in manifest.files.items():
        found = root.sha256(f"{place}/{name}")
        if found is None:
            yield f"{name} is missing"
        elif found != expected:
            yield wrong_content(name)
