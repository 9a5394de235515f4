"""Reads what a store holds of a suite: records, trials, and numbers of metrics that came later; older schemas too."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from benchmark.data.skipped import told
from benchmark.errors import UserError
from benchmark.store.artifact import Artifact
from benchmark.store.artifacts import Store
from benchmark.store.schemas import ADDED, FRONT, MEASURES, RECORDS, SCHEMA_VERSION, TRIALS

READERS = 4  # of tables at once
RECORD = "record"  # where a number of a record stands; others name their `measure/<key>`
_SINCE = {name: version for version, names in ADDED.items() for name in names}
_BEFORE: Mapping[str, str] = {"detector": "none"}  # what an added column means where it is not there; else null


class Stored(NamedTuple):
    """Tables of a suite, each with a column `order`: the place of the cell in the suite."""

    records: pa.Table
    trials: pa.Table
    fronts: Any  # DataFrame: order, trial, epoch, the fields of MEASURE; on test, of what stands on a validation front
    front_sources: Any  # DataFrame: order, trial, epoch, sources
    measures: Any  # DataFrame: order, selection, the fields of MEASURE, source
    skipped: tuple[str, ...]  # a line for each data set that was prepared without some of its rows


def read_suite(store: Store, entries: Sequence[Mapping[str, Any]], metrics: Sequence[Mapping[str, Any]] = ()) -> Stored:
    """All records and trials of a suite's cells, and every number that is known of them.

    Args:
        store: where they are.
        entries: the suite's cells, as its document lists them.
        metrics: those that the suite names beside those of every record, on paper. What an earlier form of one of
            them gave is left out.

    Raises:
        UserError: a table that this version cannot read.
    """
    artifacts = store.find_all("record", (entry["record"] for entry in entries))
    there = ((order, artifacts.get(entry["record"])) for order, entry in enumerate(entries))
    found = {order: artifact for order, artifact in there if artifact}
    skipped = dict.fromkeys(told(item) for artifact in found.values() for item in artifact.facts.get("skipped", ()))
    records = _tables(found, "records.parquet", RECORDS)
    trials = _tables(_with(found, "trials.parquet"), "trials.parquet", TRIALS)
    fronts = _one_table(_tables(_with(found, "front.parquet"), "front.parquet", FRONT), FRONT)
    table = _one_table(records, RECORDS)
    orders = {entry["record"]: order for order, entry in enumerate(entries)}
    measures = _measures(table, _joined(store, orders, metrics))
    place = ["order", "trial", "epoch"]
    front_sources = fronts.select([*place, "sources"]).to_pandas()
    return Stored(table, _one_table(trials, TRIALS), _nested(fronts, place), front_sources, measures, tuple(skipped))


def _with(artifacts: Mapping[int, Artifact], name: str) -> dict[int, Artifact]:
    """Those that have such a file."""
    return {order: artifact for order, artifact in artifacts.items() if name in artifact.hashes}


def _tables(artifacts: Mapping[int, Artifact], name: str, schema: pa.Schema) -> dict[int, pa.Table]:
    """A table of each artifact, read side by side: Arrow reads without Python's lock, and remote stores answer late."""

    def read(artifact: Artifact) -> pa.Table:
        return read_table(artifact.path(name), schema)

    with ThreadPoolExecutor(READERS) as readers:
        return dict(zip(artifacts, readers.map(read, artifacts.values()), strict=True))


def read_table(path: Path, schema: pa.Schema) -> pa.Table:
    """A table of this schema or an older one, whose missing columns are null or what they mean by being absent.

    Raises:
        UserError: it is no such table, or one of a newer schema.
    """
    try:
        # a plain file: `read_table` would look for partitions first, and there are thousands of small ones
        with pq.ParquetFile(path) as file:
            table = file.read(use_threads=False)
        # tables of trials do not say of which version they are
        newest = max(table.column("schema_version").to_pylist(), default=0) if "schema_version" in schema.names else 0
        if newest > SCHEMA_VERSION:
            raise UserError(
                f"record {path}: schema_version must be at most {SCHEMA_VERSION}, got {newest}; upgrade Backstop"
            )
        if table.schema.equals(schema):
            return table
        for field in schema:
            if field.name not in table.column_names and _SINCE.get(field.name, 0) > newest:
                known = pa.repeat(pa.scalar(_BEFORE.get(field.name), field.type), table.num_rows)
                table = table.append_column(field.name, known)
        return table.select(schema.names).cast(schema)
    except (OSError, KeyError, pa.ArrowException) as error:
        detail = str(error).splitlines()[0]
        raise UserError(f"record {path} must be a table of this schema, got {detail!r}; run the suite again") from None


def _one_table(tables: Mapping[int, pa.Table], schema: pa.Schema) -> pa.Table:
    """All rows below each other, with the cell's place beside them."""
    orders = np.repeat(np.array([*tables], dtype=np.int64), [table.num_rows for table in tables.values()])
    # each column in one piece: to look rows up in thousands of pieces takes minutes
    table = pa.concat_tables([schema.empty_table(), *tables.values()]).combine_chunks()
    return table.append_column("order", pa.array(orders))


def _measures(records: pa.Table, joined: Any) -> Any:
    """Every number once for its row, name and read-out: of the highest version, the record's where those are equal.

    A record's number gives way to its own metric alone; another that took its name has no say in it.
    """
    rows = ["order", "selection"]
    own, place = _nested(records, rows).assign(source=RECORD), [*rows, "name", "readout"]
    if len(joined):
        theirs = joined[place].merge(own[[*place, "metric"]], how="left", on=place)["metric"]
        joined = joined[(theirs.isna() | (theirs == joined["metric"].reset_index(drop=True))).to_numpy()]
    found = pd.concat([joined, own], ignore_index=True) if len(joined) else own
    found = found.sort_values("version", kind="stable", na_position="first").drop_duplicates(place, keep="last")
    # artifacts of one second have no order of their own
    return found.sort_index().sort_values("order", kind="stable", ignore_index=True)


def _nested(table: pa.Table, of: Sequence[str]) -> Any:
    """The measures inside a table's rows as a long frame, with the columns that say of which row."""
    column = table.column("measures").combine_chunks()
    parents = pc.call_function("list_parent_indices", [column])
    numbers = pa.Table.from_struct_array(column.flatten())
    for name in of:
        numbers = numbers.append_column(name, table.column(name).combine_chunks().take(parents))
    return numbers.to_pandas()


def _joined(store: Store, orders: Mapping[str, int], metrics: Sequence[Mapping[str, Any]]) -> Any:
    """Numbers of the store's `measure` artifacts on these cells, the newest last."""
    parts = []
    # by attempt, whose name begins with its time
    for artifact in sorted(_measuring(store, orders, metrics), key=lambda found: found.attempt):
        table = read_table(artifact.path("measures.parquet"), MEASURES).to_pandas()
        own = table[table["cell"].isin(orders)]
        parts.append(own.assign(order=own["cell"].map(orders), source=f"measure/{artifact.key}").drop(columns="cell"))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def _measuring(store: Store, orders: Mapping[str, int], metrics: Sequence[Mapping[str, Any]]) -> Iterator[Artifact]:
    named: dict[str, list[Mapping[str, Any]]] = {}
    for metric in metrics:
        named.setdefault(metric["name"], []).append(metric)
    for key, facts in store.facts_of("measure", store.keys("measure")).items():
        if orders.keys().isdisjoint(facts.get("cells", ())):
            continue
        metric = facts.get("metric", {})
        if metric not in named.get(metric.get("name"), [metric]):  # its source, version or fields were others
            continue
        artifact = store.find("measure", key)
        if artifact is not None:
            yield artifact
