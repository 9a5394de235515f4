"""Reads a suite from a store into tidy frames: cells x selection rule, their measures, and the epochs of all trials.

A cell without a record is there too, with the status `missing`: nothing is silently blank.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from benchmark.errors import UserError, unknown
from benchmark.records import RECORDS, SCHEMA_VERSION, TRIALS
from benchmark.store import Store

# A pandas DataFrame. pandas' own annotations call every selection "a frame, a series or a number", which says nothing.
Frame: TypeAlias = Any

HEADLINE_READOUT = "zero_shot"
HEADLINE_MEASURES = (
    "clean_accuracy",
    "attack_success_rate",
    "attack_success_rate_inclusive",
    "poisoned_accuracy",
    "floor",
    "net_asr",
    "target_rate",
)
AXES = ("dataset", "model", "objective", "attack", "repair", "seed", "searched")


class Results(NamedTuple):
    """What the board is made from.

    `cells` has one row per cell and selection rule, in the suite's order; column `row` links it to `measures`, which
    has one row per number. The zero-shot numbers stand in `cells` as well: `<name>`, `<name>_count`, `<name>_total`.
    `trials` has one row per trial and epoch of the searched cells, with the axes of the cell beside it.
    """

    suite: Mapping[str, Any]
    cells: Frame
    measures: Frame
    trials: Frame


def compile_suite(store: Store, name: str) -> Results:
    """Reads the records and trials of one suite.

    Raises:
        UserError: the store holds no such suite, or a record that this version cannot read.
    """
    suite = store.read_json(f"suites/{name}.json")
    if suite is None:
        names = [path.removeprefix("suites/").removesuffix(".json") for path in store.list_json("suites")]
        raise unknown(f"suite in store {store.root}:", name, names)
    records, trials = _read_tables(store, suite["cells"])
    cells = _with_missing(_entries(suite["cells"]), records.drop_columns("measures").to_pandas())
    measures = _measures(records).merge(cells[["order", "selection", "row"]], on=["order", "selection"])
    return Results(suite, _widened(cells, measures), measures.drop(columns=["order", "selection"]), trials)


def _read_tables(store: Store, entries: list[Mapping[str, Any]]) -> tuple[pa.Table, Frame]:
    """All records and all trials, each with a column `order`: the place of their cell in the suite."""
    records, trials = [_empty(RECORDS)], [_empty(TRIALS)]
    for order, entry in enumerate(entries):
        artifact = store.find("record", entry["record"])
        if artifact is None:
            continue
        records.append(_read(artifact.path("records.parquet"), RECORDS, order))
        if artifact.path("trials.parquet").exists():
            trials.append(_read(artifact.path("trials.parquet"), TRIALS, order))
    axes = _entries(entries)[["order", *AXES]]
    return pa.concat_tables(records), pa.concat_tables(trials).to_pandas().merge(axes, on="order")


def _empty(schema: pa.Schema) -> pa.Table:
    return schema.append(pa.field("order", pa.int64())).empty_table()


def _read(path: Path, schema: pa.Schema, order: int) -> pa.Table:
    try:
        table = pq.read_table(path)
        newest = max(table.column("schema_version").to_pylist(), default=0) if "schema_version" in schema.names else 0
        if newest > SCHEMA_VERSION:
            raise UserError(
                f"record {path}: schema_version must be at most {SCHEMA_VERSION}, got {newest}; upgrade Backstop"
            )
        table = table.select(schema.names).cast(schema)
    except (OSError, KeyError, pa.ArrowException) as error:
        detail = str(error).splitlines()[0]
        raise UserError(f"record {path} must be a table of this schema, got {detail!r}; run the suite again") from None
    return table.append_column("order", pa.array([order] * table.num_rows, pa.int64()))


def _entries(entries: list[Mapping[str, Any]]) -> Frame:
    frame = pd.DataFrame([dict(entry) for entry in entries], columns=["cell", "record", *AXES])
    return frame.assign(order=range(len(frame)))


def expected_rules(repair: str, searched: bool) -> tuple[str, ...]:
    """The selection rules that a cell is reported under."""
    if repair == "none":
        return ("undefended",)
    return ("default", "oracle", "trigger_blind") if searched else ("default",)


def _with_missing(entries: Frame, records: Frame) -> Frame:
    """One row per cell and rule: those of the records, and `missing` where a record or a rule's row is not there."""
    places = [
        {"order": order, "selection": rule, "rule_order": place}
        for order, repair, searched in entries[["order", "repair", "searched"]].itertuples(index=False)
        for place, rule in enumerate(expected_rules(repair, searched))
    ]
    expected = pd.DataFrame(places, columns=["order", "selection", "rule_order"])
    facts = records.drop(columns=["cell", *AXES])
    cells = expected.merge(facts, on=["order", "selection"], how="outer").merge(entries, on="order")
    absent = cells["status"].isna()
    has_record = cells["order"].isin(records["order"])
    cells["status"] = cells["status"].where(~absent, "missing")
    reason = np.where(has_record, "the record has no row for this rule", "no record in this store")
    cells["reason"] = cells["reason"].where(~absent, reason).fillna("")
    cells = cells.sort_values(["order", "rule_order"], kind="stable", ignore_index=True)
    return cells.assign(row=range(len(cells)))


def _measures(records: pa.Table) -> Frame:
    """The nested measures as a long frame: order, selection, name, readout, value, count, total, version."""
    column = records.column("measures").combine_chunks()
    parents = pc.call_function("list_parent_indices", [column])
    numbers = pa.Table.from_struct_array(column.flatten())
    for name in ("order", "selection"):
        numbers = numbers.append_column(name, records.column(name).combine_chunks().take(parents))
    frame = numbers.to_pandas()
    return frame.drop_duplicates(["order", "selection", "name", "readout"], keep="last")


def _widened(cells: Frame, measures: Frame) -> Frame:
    """Adds the zero-shot numbers as columns; a measure that no cell has becomes a column of NaN."""
    wide = measures[measures["readout"] == HEADLINE_READOUT].pivot(
        index="row", columns="name", values=["value", "count", "total"]
    )
    columns = {}
    for name in HEADLINE_MEASURES:
        for part, suffix in (("value", ""), ("count", "_count"), ("total", "_total")):
            values = wide[part, name] if (part, name) in wide.columns else pd.Series(dtype="float64")
            columns[name + suffix] = values.astype("float64").reindex(cells["row"]).to_numpy()
    return pd.concat([cells, pd.DataFrame(columns, index=cells.index)], axis=1)


def at(cells: Frame, objective: str, attack: str, repair: str, rule: str) -> Frame:
    """The rows at one place of the grid, one per seed."""
    hit = (cells["objective"] == objective) & (cells["attack"] == attack)
    return cells[hit & (cells["repair"] == repair) & (cells["selection"] == rule)]
