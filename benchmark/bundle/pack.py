"""From a store to a bundle: the same numbers, without weights, images, and outcomes of other read-outs."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from benchmark.bundle.layout import (
    ARTIFACT,
    ARTIFACTS,
    DOCUMENT,
    FORMAT,
    HEAD,
    OUTCOMES,
    TABLES,
    TRAJECTORIES,
    TRAJECTORY,
    WEIGHTS,
    hashes,
    part_of,
)
from benchmark.bundle.outcomes import narrow
from benchmark.bundle.weights import FILES as WEIGHT_FILES
from benchmark.bundle.weights import write_rounded
from benchmark.errors import UserError, must
from benchmark.store.artifact import Artifact
from benchmark.store.artifacts import Store
from benchmark.store.suites import suite_document
from benchmark.store.trajectories import STAGE, asked_trajectories

_STORED = {
    "compression": "zstd",
    "compression_level": 19,
    "write_statistics": False,
}  # small and, twice, the same bytes


class Packed(NamedTuple):
    """What was written, and what was not."""

    written: tuple[int, ...]  # seeds
    unfinished: Mapping[int, int]  # seed -> cells without a final record
    size: int  # bytes of all parts that were written


def pack(store: Store, name: str, folder: Path, *, weights_of: Sequence[int] = ()) -> Packed:
    """Writes the parts of those seeds of a suite whose cells all have their final record; other seeds' stay.

    Args:
        store: where the suite was run.
        name: of the suite.
        folder: of the bundle; made if it is not there.
        weights_of: seeds whose pre-trained models go with it, rounded to bf16.

    Raises:
        UserError: no seed is finished, weights of another one are asked for, an outcome table is missing, or the
            folder holds another suite's bundle.
    """
    document = suite_document(store, name)
    _check_folder(folder, document)
    seeds: dict[int, list[str]] = {}
    for cell in document["cells"]:
        seeds.setdefault(cell["seed"], []).append(cell["record"])
    found = store.find_all("record", (key for keys in seeds.values() for key in keys))
    final = {key: record for key, record in found.items() if record.facts["final"]}
    left = {seed: sum(key not in final for key in keys) for seed, keys in seeds.items()}
    whole = [seed for seed, missing in left.items() if not missing]
    if not whole:
        least = min(left, key=lambda seed: left[seed])
        raise UserError(
            f"suite {name}: there must be a seed whose cells all have their final record, got {left[least]} without "
            f"one in seed {least}; run it to its end with `backstop run {name} --only seed={least}`"
        )
    for seed in weights_of:
        if seed not in whole:
            raise must("--weights", f"of finished seeds: {whole}", seed, "run the seed to its end, or leave it out")
    folder.mkdir(parents=True, exist_ok=True)
    grown = store.find_all(STAGE, sorted(asked_trajectories(store, document))).values()
    size = 0
    for seed in whole:
        records = [final[key] for key in seeds[seed]]
        own = [one for one in grown if one.facts["seed"] == seed]
        size += _write_part(store, name, seed, records, folder, own, weights=seed in weights_of)
    _write_json(folder / DOCUMENT, document | {"environment": _nameless(document.get("environment", {}))})
    return Packed(tuple(whole), {seed: missing for seed, missing in left.items() if missing}, size)


def _check_folder(folder: Path, document: Mapping[str, Any]) -> None:
    """Refuses to mix parts of different suites: what a part says holds for the cells of the document beside it."""
    try:
        there = json.loads((folder / DOCUMENT).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return
    except ValueError:
        there = {}
    old, new = ({cell["record"] for cell in one.get("cells", ())} for one in (there, document))
    if not old <= new:
        raise UserError(
            f"bundle {folder}: its suite must be this one, got other cells ({len(old - new)} are not of suite "
            f"{document['suite']}); choose another folder"
        )


def _write_part(
    store: Store,
    name: str,
    seed: int,
    records: Sequence[Artifact],
    folder: Path,
    trajectories: Sequence[Artifact],
    *,
    weights: bool,
) -> int:
    part = folder / f".{part_of(seed)}.part"
    shutil.rmtree(part, ignore_errors=True)
    (part / OUTCOMES).mkdir(parents=True)
    for file, schema in TABLES.items():
        tables = [_read(record, file, schema) for record in records if file in record.hashes]
        table = _without_hosts(pa.concat_tables([schema.empty_table(), *tables]))
        pq.write_table(table, part / file, **_STORED)
    packed: dict[tuple[str, str], Artifact] = {}
    for record in records:
        packed["record", record.key] = record
        for stage, key in _behind(record):
            packed.setdefault((stage, key), _there(store, stage, key))
        evaluations = [key for stage, key in _behind(record) if stage == "evaluate"]
        new = [key for key in evaluations if ("outcomes", key) not in packed]
        packed |= {("outcomes", key): packed["evaluate", key] for key in new}
        if new:
            tables = {key: pq.read_table(packed["evaluate", key].path("outcomes.parquet")) for key in new}
            pq.write_table(narrow(tables), part / OUTCOMES / f"{record.key}.parquet", **_STORED)
    if trajectories:
        tables = [_looks(artifact) for artifact in trajectories]
        pq.write_table(pa.concat_tables(tables), part / TRAJECTORIES, **_STORED)
    if weights:
        _write_weights([artifact for (stage, _), artifact in packed.items() if stage == "pretrain"], part / WEIGHTS)
    rows = [_row(artifact) for (stage, _), artifact in packed.items() if stage != "outcomes"]
    rows += map(_row, trajectories)
    pq.write_table(pa.Table.from_pylist(rows, schema=ARTIFACT), part / ARTIFACTS, **_STORED)
    _write_json(part / HEAD, {"format": FORMAT, "suite": name, "seed": seed, "files": hashes(part)})
    size = sum(path.stat().st_size for path in part.rglob("*") if path.is_file())
    place = folder / part_of(seed)
    shutil.rmtree(place, ignore_errors=True)
    os.replace(part, place)
    return size


def _write_weights(models: Sequence[Artifact], folder: Path) -> None:
    folder.mkdir()
    for model in models:
        if not set(WEIGHT_FILES) <= model.hashes.keys():
            raise UserError(f"model {model.key} must have its weights in the store, got none; leave --weights out")
        weights, settings = (model.path(file) for file in WEIGHT_FILES)
        if json.loads(settings.read_text(encoding="utf-8")).get("base"):
            raise UserError(f"model {model.key} must stand alone, got a difference to another; leave --weights out")
        write_rounded(weights, folder / f"{model.key}{weights.suffix}")
        shutil.copyfile(settings, folder / f"{model.key}{settings.suffix}")


def _read(record: Artifact, file: str, schema: pa.Schema) -> pa.Table:
    table = pq.read_table(record.path(file))
    if not table.schema.equals(schema):
        raise UserError(
            f"record {record.key}: {file} must be of this version's schema, got an older one; run its suite anew in "
            "another store"
        )
    return table


def _looks(trajectory: Artifact) -> pa.Table:
    """The numbers of a trajectory, with its key."""
    table = pq.read_table(trajectory.path("rebound.parquet"))
    return table.add_column(0, TRAJECTORY.field(0), pa.repeat(pa.scalar(trajectory.key), table.num_rows))


def _without_hosts(table: pa.Table) -> pa.Table:
    """The rows without the names of the machines that made them."""
    if "environment" not in table.column_names:
        return table
    texts = [json.dumps(_nameless(json.loads(text)), sort_keys=True) for text in table["environment"].to_pylist()]
    place = table.schema.get_field_index("environment")
    return table.set_column(place, table.schema.field(place), pa.array(texts, pa.string()))


def _nameless(environment: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in environment.items() if name != "host"}


def _behind(record: Artifact) -> list[tuple[str, str]]:
    """Outcomes on test that a record's numbers come from, their models and triggers; in order, each once."""
    found: dict[tuple[str, str], None] = {}
    for file in ("records.parquet", "front.parquet"):
        if file not in record.hashes:
            continue
        for sources in pq.read_table(record.path(file), columns=["sources"])["sources"].to_pylist():
            for source in sources or ():
                if source["stage"] == "evaluate" and source["split"] == "test":
                    found["evaluate", source["key"]] = None
                if source["model_stage"] == "pretrain" and source["model"]:
                    found["pretrain", source["model"]] = None
    for text in pq.read_table(record.path("records.parquet"), columns=["artifacts"])["artifacts"].to_pylist():
        poison = json.loads(text).get("poison")
        if poison:
            found["poison", poison] = None
    return [*found]


def _there(store: Store, stage: str, key: str) -> Artifact:
    found = store.find(stage, key)
    if found is None:
        raise UserError(
            f"store {store.root}: {stage}/{key} must be there, since a record's numbers come from it, got nothing; run "
            "the suite again, or name the store that has it with --from"
        )
    return found


def _row(artifact: Artifact) -> dict[str, str]:
    texts = {"facts": artifact.facts, "files": dict(artifact.hashes)}
    named = {"stage": artifact.stage, "key": artifact.key, "attempt": artifact.attempt}
    return named | {name: json.dumps(value, sort_keys=True) for name, value in texts.items()}


def _write_json(path: Path, value: Any) -> None:
    temporary = path.with_name(f".{path.name}.part")
    temporary.write_text(json.dumps(value, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    os.replace(temporary, path)
