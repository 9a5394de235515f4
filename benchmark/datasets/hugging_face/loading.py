"""Calls into the Hugging Face `datasets` library: local files or a pinned hub set, one table per split."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from benchmark.datasets.hugging_face.content import remembered
from benchmark.datasets.hugging_face.fields import HuggingFaceFields
from benchmark.datasets.hugging_face.layouts import METADATA, SUFFIXES, Layout
from benchmark.errors import UserError
from benchmark.hub import hub_or_cache

Row = TypeVar("Row")
OFFLINE = "the hub does not answer and its cache has no copy: give local files with data.path, or connect"


def load_splits(spec: HuggingFaceFields, layout: Layout | None) -> dict[str, Any]:
    """Loads the splits, in the order of `spec.splits`; rows are not decoded.

    Args:
        spec: which set.
        layout: its local files; None: from the hub.

    Returns:
        Split name to `datasets.Dataset`, or to `datasets.IterableDataset` where the set is streamed.

    Raises:
        UserError: where the library cannot read what it was given.
    """
    if layout is not None:
        return _loaded(spec, layout, str(layout.root), remedy=f"check the files, or set {spec.name}.format")
    from datasets import config

    with hub_or_cache(config) as answers:
        remedy = "check the name, access and connection" if answers else OFFLINE
        return _loaded(spec, None, f"{spec.hub}@{spec.hub_revision}", remedy=remedy)


def _loaded(spec: HuggingFaceFields, layout: Layout | None, what: str, *, remedy: str) -> dict[str, Any]:
    with _refusing(f"{spec.name}: {what!r}", remedy):
        return {split: _load(spec, layout, split) for split in spec.splits}


def read_on(rows: Iterable[Row], spec: HuggingFaceFields) -> Iterator[Row]:
    """The rows of a streamed split, whose files the library reads only now.

    Raises:
        UserError: where it cannot read on.
    """
    with _refusing(f"{spec.name}: {str(spec.path or spec.hub)!r}", "mend the files there"):
        yield from rows


@contextmanager
def _refusing(what: str, remedy: str) -> Iterator[None]:
    """Turns all that the library and its readers raise, of many kinds, into a UserError: reading failed."""
    try:
        with _quiet():
            yield
    except UserError:
        raise
    except Exception as error:
        cause = error.__cause__ or error
        reason = " ".join(str(cause).split())[:200]
        raise UserError(f"{what} cannot be read ({type(cause).__name__}: {reason}); {remedy}") from error


def _load(spec: HuggingFaceFields, layout: Layout | None, split: str) -> Any:
    from datasets import load_dataset

    if layout is None:
        options: dict[str, Any] = {"revision": spec.hub_revision, "split": split, "streaming": spec.streaming}
        return load_dataset(str(spec.hub), spec.hub_config, **options)
    files = [str(file) for file in layout.splits[split] if _belongs(file, layout)]
    options = {"data_files": {"train": files}, "split": "train", "streaming": spec.streaming}
    if layout.format == "csv" and files[0].lower().endswith(".tsv"):
        options["delimiter"] = "\t"
    return load_dataset(layout.format, cache_dir=_cache_folder(), **options)


def _belongs(file: Path, layout: Layout) -> bool:
    return file.suffix.lower() in SUFFIXES[layout.format] or (layout.format == "imagefolder" and file.name in METADATA)


def _cache_folder() -> str:
    """Where local files become Arrow tables: HF_DATASETS_CACHE, else this user's folder for temporary files."""
    return os.environ.get("HF_DATASETS_CACHE") or str(Path(tempfile.gettempdir()) / f"backstop-datasets-{os.getuid()}")


@contextmanager
def _quiet() -> Iterator[None]:
    from datasets.utils import logging

    shown, told = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity(logging.CRITICAL)  # what it cannot read is told in one line
    try:
        yield
    finally:
        logging.set_verbosity(told)
        if shown:
            logging.enable_progress_bar()


def count_rows(spec: HuggingFaceFields, layout: Layout | None, split: str, table: Any) -> int:
    """Rows of a streamed split: from metadata where there is any, else by counting local rows.

    Raises:
        UserError: a hub set that does not say, without `expected_rows`.
    """
    if layout is not None and layout.format == "parquet":
        import pyarrow.parquet as pq

        return sum(pq.read_metadata(file).num_rows for file in layout.splits[split])
    if layout is not None:  # a pass over everything, so it is made once and not each time that a stage opens the set
        files = [file for file in layout.splits[split] if _belongs(file, layout)]
        return int(remembered("rows", files, lambda: str(sum(1 for _ in read_on(table, spec)))))
    known = (table.info.splits or {}).get(split)
    if known is not None and known.num_examples:
        return int(known.num_examples)
    if split not in spec.expected_rows:
        raise UserError(f"{spec.name}.expected_rows must name {split!r}, got {spec.expected_rows!r}; count its rows")
    return spec.expected_rows[split]
