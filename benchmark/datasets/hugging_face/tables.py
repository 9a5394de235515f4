"""Opened Hugging Face sets: memory-mapped tables that are read by row number, and streams."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmark.data.images import decode_items, shuffle
from benchmark.datasets.hugging_face.columns import Columns, Reader, class_names, resolve
from benchmark.datasets.hugging_face.fields import HuggingFaceFields
from benchmark.datasets.hugging_face.layouts import Layout, image_folder
from benchmark.datasets.hugging_face.loading import count_rows, load_splits, read_on
from benchmark.datasets.hugging_face.scanning import Scan, open_scan, records
from benchmark.errors import UserError
from benchmark.store.keys import derive_seed
from benchmark.types.rows import RowSet, picked
from benchmark.types.source import Item, Samples, Source

TEXT = ("string", "large_string", "string_view")  # CSV gives the second one


@dataclass(frozen=True)
class Tables:
    """A set whose splits lie behind one another: rows of the first split, then those of the fixed test split."""

    spec: HuggingFaceFields
    image_size: int
    tables: tuple[Any, ...]
    scans: tuple[Scan | None, ...]  # where a stream reads the files past the library
    readers: tuple[Reader, ...]
    counts: tuple[int, ...]
    class_names: tuple[str, ...]
    groups: np.ndarray | None

    @property
    def num_rows(self) -> int:
        """Rows of all splits."""
        return sum(self.counts)

    @property
    def caption_templates(self) -> tuple[str, ...]:
        """See `Source`."""
        return self.spec.caption_templates

    @property
    def evaluation_templates(self) -> tuple[str, ...]:
        """See `Source`."""
        return self.spec.evaluation_templates

    @property
    def held_out_window(self) -> int | None:
        """See `Source`."""
        return self.spec.held_out_window if self.spec.streaming else None

    @property
    def fixed_splits(self) -> dict[str, np.ndarray]:
        """The test split's rows, where there is one."""
        start = self.counts[0]
        return {"test": np.arange(start, start + self.counts[1])} if len(self.counts) > 1 else {}

    def read(self, rows: Sequence[int] | np.ndarray) -> Samples:
        """Reads rows by number; a streamed set is passed through once for it."""
        rows = np.asarray(rows, np.int64)
        if self.spec.streaming:
            found = {item.row: item for item in self.stream(seed=None, rows=RowSet.of(rows))}
            if len(found) < len(set(rows.tolist())):
                raise UserError(
                    f"{self.spec.name}: the stream must have {self.num_rows} rows, got fewer; mend expected_rows"
                )
            return decode_items([found[row] for row in rows.tolist()], self.image_size, decoder=self.spec.decoder)
        items: list[Item | None] = [None] * len(rows)
        start = 0
        for table, reader, count in zip(self.tables, self.readers, self.counts, strict=True):
            places = np.flatnonzero((rows >= start) & (rows < start + count))
            records = _records(table[(rows[places] - start).tolist()]) if len(places) else ()
            for place, record in zip(places, records, strict=True):
                items[place] = reader.item(int(rows[place]), record)
            start += count
        return decode_items([item for item in items if item is not None], self.image_size, decoder=self.spec.decoder)

    def stream(self, *, seed: int | None, epoch: int = 0, rows: RowSet | None = None) -> Iterator[Item]:
        """Rows in stored order, or the first split's rows through the shuffling buffer.

        Rows are numbered before they are shuffled. The library's own `shuffle` also reorders the files, which would
        number the rows anew in every epoch.
        """
        wanted = RowSet.before(self.num_rows) if rows is None else rows
        if seed is None:
            return self._numbered(len(self.tables), wanted)
        return shuffle(
            self._numbered(1, wanted),
            seed=derive_seed(seed, "stream", epoch),
            buffer=self.spec.shuffle_buffer,
            num_rows=self.counts[0],
        )

    def _numbered(self, num_splits: int, rows: RowSet) -> Iterator[Item]:
        start = 0
        for split, count in enumerate(self.counts[:num_splits]):
            scan, reader = self.scans[split], self.readers[split]
            found = (
                records(scan, rows, start=start)
                if scan is not None
                else read_on(picked(self.tables[split], rows, start=start, stop=start + count), self.spec)
            )
            for row, record in found:
                yield reader.item(row, record)
            start += count


def _records(columns: Mapping[str, list[Any]]) -> list[dict[str, Any]]:
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def open_source(spec: HuggingFaceFields, image_size: int) -> Source:
    """Opens the splits of a set, finds the columns and the classes, and checks the row counts.

    Raises:
        UserError: see `HuggingFace.open`.
    """
    layout = spec.layout() if spec.path is not None else None
    loaded = load_splits(spec, layout)
    first = next(iter(loaded.values()))
    names = list(first.column_names or next(read_on(first, spec), {}))
    columns = resolve(spec, names, {name: type(feature).__name__ for name, feature in (first.features or {}).items()})
    tables = {split: _narrow(table, columns) for split, table in loaded.items()}
    classes, maps = _classes(spec, columns, tables)
    readers = tuple(
        Reader(split, columns, layout.root if layout else None, layout and image_folder(layout, split), maps[split])
        for split in tables
    )
    scans = tuple(_scan(spec, layout, split, table, columns) for split, table in tables.items())
    counts = tuple(
        sum(scan.counts) if scan is not None else _count(spec, layout, split, table)
        for scan, (split, table) in zip(scans, tables.items(), strict=True)
    )
    groups = _groups(tables, columns)
    return Tables(spec, image_size, tuple(tables.values()), scans, readers, counts, classes, groups)


def _scan(spec: HuggingFaceFields, layout: Layout | None, split: str, table: Any, columns: Columns) -> Scan | None:
    if not spec.streaming or layout is None or layout.format != "parquet" or table.features is None:
        return None
    return open_scan(layout.splits[split], columns.used, table.features.arrow_schema)


def _narrow(table: Any, columns: Columns) -> Any:
    """Keeps the columns in use and leaves images encoded."""
    from datasets import Image

    table = table.select_columns(columns.used)
    if isinstance((table.features or {}).get(columns.image), Image):
        table = table.cast_column(columns.image, Image(decode=False))
    return table


def _classes(
    spec: HuggingFaceFields, columns: Columns, tables: Mapping[str, Any]
) -> tuple[tuple[str, ...], dict[str, Mapping[Any, int] | None]]:
    """Class names, and per split how a stored label becomes a class (None: it is the class number)."""
    if columns.label is None:
        return spec.class_names, dict.fromkeys(tables, None)
    stored = {split: _stored_names(table, columns.label) for split, table in tables.items()}
    first = next(iter(stored.values()))
    names = class_names(spec, first, place=columns.label)
    if first and len(names) != len(first):
        raise UserError(
            f"{spec.name}.class_names must be {len(first)} names for column {columns.label!r}, got {len(names)}; "
            "name every class in stored order"
        )
    feature = (next(iter(tables.values())).features or {}).get(columns.label)
    if feature is None:  # a stream whose types only its rows tell: names or numbers
        either = {key: place for place, name in enumerate(names) for key in (name, place)}
        return names, dict.fromkeys(tables, either)
    if _holds_text(feature):
        stored_order = names if set(first) <= set(names) else _in_order(first)
        whole = {name: place for place, name in enumerate(stored_order)}
        return names, dict.fromkeys(tables, whole)
    position = {name: place for place, name in enumerate(first)}
    maps: dict[str, Mapping[Any, int] | None] = {}
    for split, own in stored.items():  # an image folder numbers the classes of each split by itself
        maps[split] = None if own == first else {place: position.get(name, -1) for place, name in enumerate(own)}
    return names, maps


def _stored_names(table: Any, column: str) -> list[str]:
    from datasets import ClassLabel

    feature = (table.features or {}).get(column)
    if isinstance(feature, ClassLabel):
        return list(feature.names or ())
    if _holds_text(feature) and hasattr(table, "unique"):
        return sorted(name for name in table.unique(column) if name)
    return []


def _holds_text(feature: Any) -> bool:
    return type(feature).__name__ != "ClassLabel" and getattr(feature, "dtype", "") in TEXT


def _in_order(names: Sequence[str]) -> Sequence[str]:
    """Stored labels as people count them: numbers that are stored as text go by their value, so 2 before 10."""
    return sorted(names, key=int) if all(name.isdecimal() for name in names) else names


def _count(spec: HuggingFaceFields, layout: Layout | None, split: str, table: Any) -> int:
    count = count_rows(spec, layout, split, table) if spec.streaming else len(table)
    expected = spec.expected_rows.get(split)
    if layout is None and expected is not None and count != expected:
        raise UserError(
            f"{spec.name}: split {split!r} must have {expected} rows at revision {spec.hub_revision}, got {count}; "
            "clear the download, or mend expected_rows"
        )
    return count


def _groups(tables: Mapping[str, Any], columns: Columns) -> np.ndarray | None:
    if columns.group is None:
        return None
    values = [value for table in tables.values() for value in table[columns.group]]
    told = np.asarray([value is not None for value in values], bool)
    numbers = np.empty(len(values), np.int64)
    numbers[told] = np.unique([value for value in values if value is not None], return_inverse=True)[1]
    # a row without a group is one by itself
    numbers[~told] = np.arange(told.sum(), len(told))
    return numbers
