"""Image files that a CSV or Parquet names by path: they belong to the content of a set as much as the table does.

An address (`s3://…`) stands for itself: what lies there is not looked at, so a changed image needs a new address.
"""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark.datasets.hugging_face.columns import resolve
from benchmark.datasets.hugging_face.content import remembered
from benchmark.datasets.hugging_face.fields import HuggingFaceFields
from benchmark.datasets.hugging_face.layouts import Layout, image_folder
from benchmark.datasets.hugging_face.scanning import BATCH_ROWS, readable

if TYPE_CHECKING:
    from pyarrow import Field
    from pyarrow.parquet import ParquetFile


def referenced_images(spec: HuggingFaceFields, layout: Layout) -> dict[str, Path]:
    """The local files that the image column of a set's tables names, by the name that stands there.

    Raises:
        UserError: a table that cannot be read, or without the columns that the set needs.
    """
    if layout.format not in ("csv", "parquet"):
        return {}
    list_names = _csv_names if layout.format == "csv" else _parquet_names
    found: dict[str, Path] = {}
    for split, files in layout.splits.items():
        folder = image_folder(layout, split) or layout.root
        for file in files:
            # a split's name tells equal paths of two folders apart
            found |= {f"{split}\0{name}": Path(os.path.join(folder, name)) for name in list_names(spec, file)}
    return found


def _csv_names(spec: HuggingFaceFields, file: Path) -> Iterator[str]:
    delimiter = "\t" if file.suffix.lower() == ".tsv" else ","
    with readable(file), open(file, encoding="utf-8-sig", newline="") as opened:
        rows = csv.DictReader(opened, delimiter=delimiter)
        image = resolve(spec, list(rows.fieldnames or ()), {}).image
        yield from _local(row[image] for row in rows)


def _parquet_names(spec: HuggingFaceFields, file: Path) -> Iterator[str]:
    def listed() -> str:
        with readable(file), ParquetFile(file) as opened:
            return json.dumps(list(dict.fromkeys(_local(_paths(spec, opened)))))

    from pyarrow.parquet import ParquetFile

    yield from json.loads(remembered(f"images of {spec.image_column or ''}", [file], listed))


def _paths(spec: HuggingFaceFields, opened: ParquetFile) -> Iterator[str | None]:
    """Paths of images that the table does not hold itself."""
    import pyarrow as pa

    schema = opened.schema_arrow
    image = resolve(spec, schema.names, _types(schema.metadata or {})).image
    field = schema.field(image)
    if pa.types.is_struct(field.type):
        yield from _paths_of_structs(opened, field)
    elif pa.types.is_string(field.type) or pa.types.is_large_string(field.type) or pa.types.is_string_view(field.type):
        for batch in opened.iter_batches(columns=[image]):
            yield from batch.column(0).to_pylist()


def _paths_of_structs(opened: ParquetFile, field: Field) -> Iterator[str | None]:
    """Of {"bytes", "path"}: the paths where the bytes are not there, without reading those that are."""
    import pyarrow.compute as pc

    if not {"bytes", "path"} <= {part.name for part in field.type}:
        return
    for group in range(opened.num_row_groups):
        if _all_there(opened, group, f"{field.name}.bytes"):
            continue
        for batch in opened.iter_batches(BATCH_ROWS, row_groups=[group], columns=[field.name]):
            values = batch.column(0)
            missing = pc.call_function("is_null", [values.field("bytes")])
            yield from values.filter(missing).field("path").to_pylist()


def _all_there(opened: ParquetFile, group: int, path: str) -> bool:
    """Whether the file's end says that no value of a column is null."""
    found = opened.metadata.row_group(group)
    columns = [found.column(place) for place in range(found.num_columns)]
    return any(
        column.path_in_schema == path and column.is_stats_set and column.statistics.null_count == 0
        for column in columns
    )


def _types(metadata: dict[bytes, bytes]) -> dict[str, str]:
    """Types of the columns as the `datasets` library wrote them down beside the schema."""
    with suppress(KeyError, ValueError, AttributeError, TypeError):
        features: dict[str, Any] = json.loads(metadata[b"huggingface"])["info"]["features"]
        return {name: feature.get("_type", "") for name, feature in features.items() if isinstance(feature, dict)}
    return {}


def _local(names: Any) -> Iterator[str]:
    return (name for name in names if name and "://" not in name)
