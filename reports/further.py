"""Tables of every measure that the grid has no column for: zero-shot ones by metric, others by read-out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from reports.compile import HEADLINE_READOUT, Frame, Results
from reports.grid import Names, axes_of
from reports.labels import MEASURES, READOUTS, RULES, plain
from reports.numbers import BLANK, Number, Scale, capital, heading, number, scales_of, shown_names, title


class MeasureRow(NamedTuple):
    """One row of the grid."""

    keys: Mapping[str, str]  # raw labels of the axes, for the filters
    shown: Mapping[str, str]  # the same as people write them
    numbers: list[Number]
    row: int  # place in the grid


class MeasureTable(NamedTuple):
    """The measures of one read-out, or of one metric."""

    title: str
    columns: list[str]
    rows: list[MeasureRow]


def measure_tables(results: Results, names: Names) -> list[MeasureTable]:
    """One table for each read-out beside zero-shot, then one for each metric that zero-shot has beside the grid's.

    Whatever a record or a `measure` artifact holds of a model is in one of them; a metric needs no word here.
    """
    measures = results.measures[results.measures["row"].isin(results.cells["row"])]
    scales = scales_of(measures)
    here = measures["readout"] == HEADLINE_READOUT
    further = measures[here & ~measures["name"].isin(list(MEASURES))]
    readouts = sorted(measures.loc[~here, "readout"].unique(), key=_place)
    tables = [
        _table(READOUTS.get(name, title(name)), measures[measures["readout"] == name], scales, results.cells, names)
        for name in readouts
    ]
    for metric, own in further.groupby(further["metric"].fillna(""), sort=False):
        said = title(str(metric).replace("-", "_")) if metric else "zero-shot"
        tables.append(_table(said, own, scales, results.cells, names))
    return [table for table in tables if table.rows]


def _place(readout: str) -> tuple[int, str]:
    order = list(READOUTS)
    return (order.index(readout) if readout in order else len(order)), readout


def _table(said: str, measures: Frame, scales: Mapping[str, Scale], cells: Frame, names: Names) -> MeasureTable:
    columns = shown_names(measures["name"])
    fields = (measures[field] for field in ("row", "name", "value", "count", "total"))
    numbers = {
        (row, name): number(value, count, total, scales[name])
        for row, name, value, count, total in zip(*fields, strict=True)
    }
    rows = []
    for place, row in enumerate(cells.itertuples(index=False)):
        entries = [numbers.get((row.row, name), BLANK) for name in columns]
        if any(entry.sort is not None for entry in entries):
            rows.append(_row(row, entries, names, place))
    return MeasureTable(capital(said), [heading(name, scales[name]) for name in columns], rows)


def _row(row: Any, entries: Sequence[Number], names: Names, place: int) -> MeasureRow:
    keys, shown = axes_of(row, names)
    rule = RULES.get(row.selection, plain(row.selection))
    keys = {**keys, "rule": row.selection, "status": row.status}
    return MeasureRow(keys, {**shown, "rule": rule}, list(entries), place)
