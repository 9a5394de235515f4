"""Local Parquet files as streams: files and row groups without a wanted row are not read, memory is one small batch.

The `datasets` library reads whole row groups ahead and makes a record of every row.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from benchmark.errors import UserError
from benchmark.types.rows import RowSet

if TYPE_CHECKING:
    from pyarrow.parquet import ParquetFile

BATCH_ROWS = 64  # rows that are decompressed at once: of photographs, a few MiB
READ_BYTES = 1 << 20  # a column is read in such pieces, not as a whole


class Scan(NamedTuple):
    """One split: its files in order, and the columns that are read."""

    files: tuple[Path, ...]
    counts: tuple[int, ...]  # rows of each file
    columns: tuple[str, ...]


def open_scan(files: Sequence[Path], columns: Sequence[str], types: Any) -> Scan | None:
    """Looks at the files' ends only.

    Args:
        files: of one split.
        columns: that are read.
        types: pyarrow schema that the library reads them under.

    Returns:
        None where a file stores a column under another type, which the library would cast.

    Raises:
        UserError: a file that is no Parquet.
    """
    import pyarrow.parquet as pq

    counts = []
    for file in files:
        with readable(file):
            found = pq.read_metadata(file)
        stored = found.schema.to_arrow_schema()
        if any(name not in stored.names or stored.field(name).type != types.field(name).type for name in columns):
            return None
        counts.append(found.num_rows)
    return Scan(tuple(files), tuple(counts), tuple(columns))


def records(scan: Scan, rows: RowSet, *, start: int) -> Iterator[tuple[int, dict[str, Any]]]:
    """The wanted rows in stored order, numbered from `start` on, each as values by column.

    Raises:
        UserError: a file that is damaged.
    """
    import pyarrow.parquet as pq

    for file, count in zip(scan.files, scan.counts, strict=True):
        if rows.count(start, start + count):
            # pre_buffer would hold whole row groups
            with readable(file), pq.ParquetFile(file, buffer_size=READ_BYTES, pre_buffer=False) as opened:
                yield from _of_file(opened, scan.columns, rows, start)
        start += count


def _of_file(
    opened: ParquetFile, columns: Sequence[str], rows: RowSet, start: int
) -> Iterator[tuple[int, dict[str, Any]]]:
    for group in range(opened.num_row_groups):
        stop = start + opened.metadata.row_group(group).num_rows
        if rows.count(start, stop):
            yield from _of_group(opened, group, columns, rows, start)
        start = stop


def _of_group(
    opened: ParquetFile, group: int, columns: Sequence[str], rows: RowSet, start: int
) -> Iterator[tuple[int, dict[str, Any]]]:
    import pyarrow as pa

    batches = opened.iter_batches(BATCH_ROWS, row_groups=[group], columns=list(columns), use_threads=False)
    for batch in batches:
        wanted = rows.within(start, start + batch.num_rows)
        if len(wanted):
            part = batch if len(wanted) == batch.num_rows else batch.take(pa.array(wanted - start))
            yield from zip(wanted.tolist(), part.to_pylist(), strict=True)
        start += batch.num_rows
        if start >= rows.stop:
            return


@contextmanager
def readable(file: Path) -> Iterator[None]:
    """Turns what a reader raises on a damaged or missing file into a UserError."""
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, OSError, UnicodeDecodeError, csv.Error) as error:
        reason = " ".join(str(error).split())[:200]
        remedy = "save it as UTF-8" if isinstance(error, UnicodeDecodeError) else "fetch it again"
        raise UserError(f"{str(file)!r} cannot be read ({type(error).__name__}: {reason}); {remedy}") from error
