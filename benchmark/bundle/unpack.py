"""From a bundle to read-only stores, in the user's cache: what reads stores reads bundles."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from benchmark.bundle.layout import (
    ARTIFACTS,
    DOCUMENT,
    HEAD,
    OUTCOMES,
    TABLES,
    TRAJECTORIES,
    WEIGHTS,
    hashes,
    head_of,
    parts,
)
from benchmark.bundle.outcomes import widen
from benchmark.bundle.weights import FILES as WEIGHT_FILES
from benchmark.bundle.weights import ROUNDED, write_widened
from benchmark.errors import UserError
from benchmark.store.artifacts import Store
from benchmark.store.cache import user_cache
from benchmark.store.manifest import Manifest
from benchmark.store.trajectories import STAGE
from benchmark.store.verify import sha256

Write = Callable[[Path], object]
FOLDER = "bundles"  # of the user's cache


class Shelves(NamedTuple):
    """Paths of three stores."""

    records: str  # the suite's document, its records and trajectories: what is done
    outcomes: str  # what the records' numbers come from: outcomes; facts of models and triggers, without their files
    models: str  # pre-trained models whose weights were packed, rounded to bf16; often none


def unpack(folder: Path) -> Shelves:
    """Has a bundle as stores; what was unpacked before is used again.

    Raises:
        UserError: a part is damaged, or of another format.
    """
    there = parts(folder)
    heads = [folder / DOCUMENT, *(part / HEAD for part in there)]
    name = hashlib.sha256(b"\0".join(path.read_bytes() for path in heads)).hexdigest()[:32]
    root = user_cache() / FOLDER / name
    shelves = Shelves(*(str(root / place) for place in Shelves._fields))
    if root.is_dir():
        return shelves
    making = root.with_name(f".{name}-{uuid.uuid4().hex[:8]}")
    try:
        stores = records, _, _ = tuple(Store(making / Path(place).name) for place in shelves)
        for store in stores:
            store.write_text("README", "Unpacked from a bundle that is installed; may be removed at any time.\n")
        records.write_json(f"suites/{folder.name}.json", json.loads((folder / DOCUMENT).read_text(encoding="utf-8")))
        for part in there:
            _unpack_part(part, *stores)
        try:
            os.replace(making, root)
        except OSError:  # another process was faster
            if not root.is_dir():
                raise
    finally:
        shutil.rmtree(making, ignore_errors=True)
    return shelves


def is_unpacked(url: str) -> bool:
    """Whether a store is one of those that `unpack` gives."""
    return user_cache() / FOLDER in Path(url).parents


def _unpack_part(part: Path, records: Store, outcomes: Store, models: Store) -> None:
    if hashes(part) != head_of(part)["files"]:
        wrong = sorted({*hashes(part).items()} ^ {*head_of(part)["files"].items()})[0][0]
        raise UserError(f"bundle {part}: {wrong} must be as it was packed, got other bytes; install Backstop again")
    rows = pq.read_table(part / ARTIFACTS).to_pylist()
    known = {(row["stage"], row["key"]): row for row in rows}
    tables = {file: _by(pq.read_table(part / file), "cell") for file in TABLES}
    grown = _by(pq.read_table(part / TRAJECTORIES), "trajectory") if (part / TRAJECTORIES).exists() else {}
    for (stage, key), row in known.items():
        if stage == "record":
            _place(records, row, {file: _table(found[key]) for file, found in tables.items() if key in found})
        elif stage == STAGE:
            _place(records, row, {TRAJECTORIES: _table(grown[key].drop_columns("trajectory"))})
        elif stage != "evaluate":
            _place(outcomes, row, {})
    for path in sorted((part / OUTCOMES).glob("*.parquet")):
        table = pq.read_table(path)
        keys = json.loads((table.schema.metadata or {})[b"evaluations"])
        facts = {key: json.loads(known["evaluate", key]["facts"]) for key in keys}
        for key, found in widen(table, {key: facts[key]["condition"] for key in keys}).items():
            _place(outcomes, known["evaluate", key], {"outcomes.parquet": _table(found)})
    for path in sorted((part / WEIGHTS).glob("*.safetensors")):
        weights, settings = WEIGHT_FILES
        copy = partial(shutil.copyfile, path.with_suffix(".json"))
        _place(
            models,
            known["pretrain", path.stem],
            {weights: partial(write_widened, path), settings: copy},
            **{ROUNDED: "bf16"},
        )


def _by(table: pa.Table, column: str) -> dict[str, pa.Table]:
    keys = pc.call_function("unique", [table[column]]).to_pylist()
    cells = table[column].to_pylist()
    rows: dict[str, list[int]] = {key: [] for key in keys}
    for place, key in enumerate(cells):
        rows[key].append(place)
    return {key: table.slice(found[0], len(found)) for key, found in rows.items()}  # a record's rows are one piece


def _place(store: Store, row: Mapping[str, Any], files: Mapping[str, Write], **more: Any) -> None:
    """Puts an artifact where it has its name, with as much of it as was packed; of the other files it says the hash."""
    folder = Path(store.root) / row["stage"] / row["key"] / row["attempt"]
    folder.mkdir(parents=True)
    for name, write in files.items():
        write(folder / name)
    written = [folder / name for name in files]
    left_out = {name: value for name, value in json.loads(row["files"]).items() if name not in files}
    manifest = Manifest(
        attempt=row["attempt"],
        files={path.name: sha256(path) for path in written},
        sizes={path.name: path.stat().st_size for path in written},
        facts=json.loads(row["facts"]) | ({"published_files": left_out} if left_out else {}) | more,
    )
    store.own.write_manifest(row["stage"], row["key"], manifest)


def _table(table: pa.Table) -> Write:
    return partial(pq.write_table, table)
