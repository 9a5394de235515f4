"""`measure`: a metric that records do not hold, over the outcomes that stand behind them. No model is needed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from benchmark.evaluation.measure import measures, score_measures
from benchmark.stages import measuring
from benchmark.stages.cells import Cell
from benchmark.stages.common import required
from benchmark.stages.identities import identity
from benchmark.stages.label import cell_label
from benchmark.stages.measuring import Source
from benchmark.stages.node import Node, Ref, Rows, Stage, Workplace
from benchmark.store.artifact import Artifact
from benchmark.store.artifacts import Store
from benchmark.store.keys import content_key
from benchmark.store.schemas import MEASURES
from benchmark.types import Measure as Number
from benchmark.types import Metric

VERSION = 1


class Measure(Stage):
    """Applies one metric to finished cells; a metric that changed is another one."""

    name = "measure"
    title = "measures"
    place = "driver"
    shown = False
    lasting = False  # its artifact is named by what the outcomes hold, which is not known before
    finished = True

    def __init__(self, metric: Metric) -> None:
        self.metric = metric

    def nodes(self, cell: Cell, rows: Rows) -> Iterable[Node]:
        """One a cell, after its record."""
        label, record = f"{self.metric.label} · {cell_label(cell.experiment)}", cell.keys.record
        key = self._key(record)
        yield Node(self, key, label, after=(Ref("record", record),), arguments=(cell,))

    def _key(self, *inputs: str) -> str:
        return content_key("measure", VERSION, {"metric": identity(self.metric)}, inputs)

    def run(self, nodes: Sequence[Node], at: Workplace) -> Mapping[str, Any]:
        """Writes `measures.parquet`, unless the same metric has seen the same outcomes.

        Raises:
            LookupError: the record is of a schema that named no sources, or a source is not in the store.
            ValueError: the metric calls a number as the record calls one of another metric.
        """
        (cell,) = nodes[0].arguments
        found = at.store.find("record", cell.keys.record)
        if found is None or not found.facts["final"]:  # why was told, and it is tried again
            return {}
        rows = {selection: [item for item in behind if _measured(cell, item)] for selection, behind in _sources(found)}
        hashes = [_hash(at.store, source) for behind in rows.values() for source in behind]
        key = self._key(cell.keys.record, *hashes)
        if not at.store.has("measure", key):
            numbers = [number for row in rows.items() for number in self._numbers(at.store, cell, *row)]
            self._check_names(numbers, found)
            draft = at.store.draft("measure", key)
            pq.write_table(pa.Table.from_pylist(numbers, schema=MEASURES), draft.path("measures.parquet"))
            draft.commit({"metric": self.metric.to_dict(), "cells": [cell.keys.record]})
        return {"measures": key}

    def _numbers(self, store: Store, cell: Cell, selection: str, behind: Sequence[Source]) -> Iterable[dict[str, Any]]:
        head = {"cell": cell.keys.record, "selection": selection}
        for transform in dict.fromkeys(source.transform for source in behind):
            tables = [measuring.read(store, source) for source in behind if source.transform == transform]
            for number in self._measure(tables, measuring.target_index(store, cell)):
                yield head | measuring.finite(number._replace(name=measuring.under(number.name, transform)))

    def _check_names(self, numbers: Iterable[Mapping[str, Any]], record: Artifact) -> None:
        """A number of a record is replaced by its own metric alone: another's would stand on the board in its place."""
        table = pq.read_table(record.path("records.parquet"), columns=["measures"]).to_pylist()
        owners = {(item["name"], item["readout"]): item["metric"] for row in table for item in row["measures"]}
        for number in numbers:
            owner = owners.get((number["name"], number["readout"]), self.metric.name)
            if owner != self.metric.name:
                rule, of = "must give numbers that records do not hold already", owner or "no metric"
                raise ValueError(f"metric {self.metric.name} {rule}, got {number['name']} of {of}; call it otherwise")

    def _measure(self, tables: Sequence[pa.Table], target: int | None) -> Iterable[Number]:
        scores = [table for table in tables if "positive" in table.column_names]
        if self.metric.of == "scores":
            return [number for table in scores for number in score_measures(table, metrics=[self.metric])]
        outcomes = [table for table in tables if "positive" not in table.column_names]
        return measures(outcomes, target=target, metrics=[self.metric]) if outcomes else []


def _sources(record: Artifact) -> list[tuple[str, list[Source]]]:
    """The tables behind each row of a record."""
    table = pq.read_table(record.path("records.parquet"))
    if "sources" not in table.column_names:
        raise LookupError(f"record {record.key} names no tables, as an older release wrote it; run it in another store")
    rows = table.select(["selection", "sources"]).to_pylist()
    return [(row["selection"], [Source(**source) for source in row["sources"]]) for row in rows]


def _measured(cell: Cell, source: Source) -> bool:
    """Whether a metric reduces a table: the row's own outcomes, and scores of several units."""
    detector = cell.experiment.detector
    scores = source.role == "scores" and detector is not None and detector.unit != "model"
    return scores or source.role.startswith("own_")


def _hash(store: Store, source: Source) -> str:
    return required(store, source.stage, source.key).hashes[source.file]
