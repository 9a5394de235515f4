"""What lies in a store, by artifact, and what of it nobody needs any more."""

from __future__ import annotations

import re
import shutil
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from benchmark.store.artifacts import Store
from benchmark.store.beaten import beaten, drop
from benchmark.store.cache import sweep, user_cache
from benchmark.store.walk import Found

ABANDONED_S = 30 * 86_400.0  # the state of a training that nobody has gone on with for so long
SILENT_S = 600.0  # drivers that have claims say so every few seconds
_ATTEMPT = re.compile(r"\d{8}T\d{6}-[0-9a-f]{8}")
_TEMPORARY = re.compile(r"\..+\.[0-9a-f]{8,32}")  # a document that was about to take its name

Ref = tuple[str, str]  # stage, key


class Holding(NamedTuple):
    """What a store has of one artifact."""

    attempts: Mapping[str, Mapping[str, Found]]  # name -> its files
    finished: bool  # it has a manifest

    @property
    def size(self) -> int:
        """Bytes of all attempts."""
        return sum(file.size for files in self.attempts.values() for file in files.values())


class Garbage(NamedTuple):
    """Something that nobody needs."""

    kind: str  # attempt, checkpoint, claim, temporary, log, weights
    name: str  # from the store's root
    size: int


class StageSize(NamedTuple):
    """What a store has of one stage."""

    stage: str
    artifacts: int
    unfinished: int
    attempts: int  # beside the one that stands
    size: int


def holdings(files: Mapping[str, Found]) -> dict[Ref, Holding]:
    """The artifacts among a store's files."""
    attempts: defaultdict[Ref, dict[str, dict[str, Found]]] = defaultdict(dict)
    finished = set[Ref]()
    for name, found in files.items():
        match name.split("/"):
            case [stage, key, "manifest.json"]:
                finished.add((stage, key))
                attempts[stage, key]  # noqa: B018  (an entry, also where no file of it is left)
            case [stage, key, attempt, file] if _ATTEMPT.fullmatch(attempt):
                attempts[stage, key].setdefault(attempt, {})[file] = found
            case _:
                continue
    return {ref: Holding(own, ref in finished) for ref, own in attempts.items()}


def sizes(store: Store) -> list[StageSize]:
    """What the writable place has of each stage."""
    by_stage: defaultdict[str, list[Holding]] = defaultdict(list)
    for (stage, _), held in holdings(store.own.root.walk()).items():
        by_stage[stage].append(held)
    return [
        StageSize(
            stage,
            sum(held.finished for held in own),
            sum(not held.finished for held in own),
            sum(max(len(held.attempts) - held.finished, 0) for held in own),
            sum(held.size for held in own),
        )
        for stage, own in sorted(by_stage.items())
    ]


def garbage(store: Store, *, older_than_s: float, logs: bool = False, trials: bool = False) -> list[Garbage]:
    """What nobody needs in the writable place; what was changed lately may be a running process's, and is left alone.

    Args:
        store: the store.
        older_than_s: seconds; what was changed since is left alone.
        logs: tracebacks of failures too.
        trials: weights of trials that stand in no record, too.
    """
    files, now = store.own.root.walk(), time.time()
    held = holdings(files)
    found = [*_attempts(store, held), *_checkpoints(files, held, now), *_loose(files, logs=logs)]
    claims = {name: file for name, file in files.items() if name.startswith("claims/") and not name.endswith("/")}
    if not any(name.startswith("claims/owners/") and now - file.changed < SILENT_S for name, file in claims.items()):
        found += [Garbage("claim", name, file.size) for name, file in claims.items()]
        found += [Garbage("weights", item.name, item.size) for item in (beaten(store) if trials else ())]
    return [item for item in found if now - _newest(files, item) >= older_than_s]


def _attempts(store: Store, held: Mapping[Ref, Holding]) -> Iterator[Garbage]:
    """Attempts beside the one that a manifest names, and those that never got one."""
    keys: defaultdict[str, list[str]] = defaultdict(list)
    for (stage, key), own in held.items():
        if own.finished and len(own.attempts) > 1:
            keys[stage].append(key)
    stands = {
        (stage, key): manifest.attempt
        for stage, own in keys.items()
        for key, manifest in store.own.manifests(stage, own).items()
    }
    for (stage, key), own in held.items():
        if own.finished and (stage, key) not in stands:  # one attempt, or a manifest that cannot be read
            continue
        for attempt, files in own.attempts.items():
            if attempt != stands.get((stage, key)):
                yield Garbage("attempt", f"{stage}/{key}/{attempt}", sum(file.size for file in files.values()))


def _checkpoints(files: Mapping[str, Found], held: Mapping[Ref, Holding], now: float) -> Iterator[Garbage]:
    """State of trainings that have ended, or were given up."""
    folders: defaultdict[Ref, list[Found]] = defaultdict(list)
    for name, found in files.items():
        match name.split("/"):
            case ["scratch", stage, key, *_] if key:  # else an empty folder of a stage
                folders[stage, key].append(found)
            case _:
                continue
    for (stage, key), own in folders.items():
        ended = (stage, key) in held and held[stage, key].finished
        resumable = stage == "pretrain" and now - max(file.changed for file in own) < ABANDONED_S
        if ended or not resumable:
            yield Garbage("checkpoint", f"scratch/{stage}/{key}", sum(file.size for file in own))


def _loose(files: Mapping[str, Found], *, logs: bool) -> Iterator[Garbage]:
    """Documents that never took their name, and logs."""
    for name, found in files.items():
        folder, _, own = name.rpartition("/")
        if not own:  # an empty folder
            continue
        if _TEMPORARY.fullmatch(own) and not folder.startswith("scratch/"):
            yield Garbage("temporary", name, found.size)
        elif logs and folder == "logs":
            yield Garbage("log", name, found.size)


def _newest(files: Mapping[str, Found], item: Garbage) -> float:
    """When anything of it was last changed."""
    inside = f"{item.name}/"
    return max(found.changed for name, found in files.items() if name == item.name or name.startswith(inside))


def remove(store: Store, items: list[Garbage]) -> None:
    """Removes garbage from the writable place, and what dead processes left in this machine's cache."""
    root = store.own.root
    drop(store, [item.name for item in items if item.kind == "weights"])
    for item in items:
        root.remove_folder(item.name) if item.kind in ("attempt", "checkpoint") else root.remove(item.name)
        if item.kind == "checkpoint":
            _, stage, key = item.name.split("/")
            store.clear_scratch(stage, key)
        if root.local is not None and item.kind == "attempt":
            _remove_if_empty(root.local / item.name.rpartition("/")[0])
    sweep(user_cache() / "processes")


def _remove_if_empty(folder: Any) -> None:
    if folder.is_dir() and not any(folder.iterdir()):
        shutil.rmtree(folder, ignore_errors=True)
