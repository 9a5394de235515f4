"""Contract of data sets: rows that are pure functions of their number, and splits that do not meet."""

from __future__ import annotations

import itertools

import numpy as np

from benchmark.config.spec import Splits
from benchmark.data.splits import assign_splits
from benchmark.testing.contract import Broken, Check, Checks, require
from benchmark.types import Dataset
from benchmark.types.rows import RowSet
from benchmark.types.source import Samples, Source

IMAGE_SIZE, ROWS = 16, 8


def dataset_checks(dataset: Dataset) -> Checks:
    """The checks of one data set. A set of the hub is opened only where a local `path` is given."""
    if getattr(dataset, "hub", None) and not getattr(dataset, "path", None):
        yield Check("opens", lambda: _needs_path(dataset))
        return
    yield Check("opens", lambda: _opens(dataset))
    yield Check("reads", lambda: _reads(_source(dataset)))
    yield Check("rows are pure", lambda: _pure(dataset))
    yield Check("labels and captions", lambda: _labels(_source(dataset)))
    yield Check("templates", lambda: _templates(_source(dataset)))
    yield Check("streams", lambda: _streams(_source(dataset)))
    yield Check("splits are disjoint", lambda: _splits(dataset))


def _needs_path(dataset: Dataset) -> str:
    raise Broken(
        f"{dataset.name} is on the hub, and a check downloads nothing; give `path` (a small local set of its layout)"
    )


def _source(dataset: Dataset) -> Source:
    return dataset.open(image_size=IMAGE_SIZE)


def _opens(dataset: Dataset) -> str:
    source = _source(dataset)
    require(source.num_rows > 0, f"num_rows must be above 0, got {source.num_rows}")
    require(dataset.revision() == dataset.revision(), "revision() must give the same text each time")
    return f"{source.num_rows} rows, {len(source.class_names)} classes"


def _rows(source: Source) -> np.ndarray:
    """Some rows, in no order."""
    return np.unique(np.linspace(0, source.num_rows - 1, ROWS).astype(np.int64))[::-1]


def _reads(source: Source) -> str:
    found = source.read(_rows(source))
    count = len(found.rows)
    shape = (count, IMAGE_SIZE, IMAGE_SIZE, 3)
    require(count > 0, f"at least one of {ROWS} rows must be readable, all were broken: {found.broken[:3]}")
    require(found.images.shape == shape, f"images must be of shape {shape}, got {found.images.shape}")
    require(found.images.dtype == np.uint8, f"images must be uint8, got {found.images.dtype}")
    for name in ("captions", "labels", "keys"):
        require(len(getattr(found, name)) == count, f"{name} must be as many as rows ({count})")
    require(count + len(found.broken) == len(_rows(source)), "each row must be read, or named in `broken`")
    require(len(set(found.keys)) == count, "keys must be distinct")
    return f"{len(found.broken)} broken" if found.broken else ""


def _same(first: Samples, second: Samples) -> bool:
    arrays = all(np.array_equal(getattr(first, name), getattr(second, name)) for name in ("rows", "images", "labels"))
    return arrays and first.captions == second.captions and first.keys == second.keys


def _only(found: Samples, place: int) -> Samples:
    one = slice(place, place + 1)
    return Samples(found.rows[one], found.images[one], found.captions[one], found.labels[one], found.keys[one], [])


def _pure(dataset: Dataset) -> str:
    source, rows = _source(dataset), _rows(_source(dataset))
    whole = source.read(rows)
    require(_same(whole, _source(dataset).read(rows)), "rows must be the same each time the set is opened")
    for place in (0, len(whole.rows) - 1):
        alone = source.read(whole.rows[place : place + 1])
        require(
            _same(alone, _only(whole, place)),
            f"row {whole.rows[place]} must not depend on the rows that are read with it",
        )
    return ""


def _labels(source: Source) -> str:
    found = source.read(_rows(source))
    require(found.labels.dtype == np.int64, f"labels must be int64, got {found.labels.dtype}")
    highest = len(source.class_names) - 1
    inside = bool(((found.labels >= -1) & (found.labels <= highest)).all())
    require(inside, f"labels must be -1 to {highest}, one per class name, got {found.labels.tolist()}")
    bare = [
        key for key, text, label in zip(found.keys, found.captions, found.labels, strict=True) if not text and label < 0
    ]
    require(not bare, f"each row must have a caption or a label, but not so {bare[:3]}")
    return ""


def _templates(source: Source) -> str:
    for name in ("caption_templates", "evaluation_templates"):
        wrong = [text for text in getattr(source, name) if text.count("{}") != 1]
        require(not wrong, f"{name} must hold one '{{}}' each, got {wrong[:1]}")
        require(not source.class_names or bool(getattr(source, name)), f"{name} must be given for a labelled set")
    shared = {text.casefold() for text in source.caption_templates} & {
        text.casefold() for text in source.evaluation_templates
    }
    require(not shared, f"caption and evaluation templates must be disjoint, but share {sorted(shared)[:1]}")
    return f"{len(source.caption_templates)} for captions, {len(source.evaluation_templates)} for evaluation"


def _streams(source: Source) -> str:
    first = list(itertools.islice(source.stream(seed=None), ROWS))
    rows = [item.row for item in first]
    require(rows == sorted(set(rows)), f"a stream without a seed must be in stored order, got {rows}")
    again = [item.row for item in itertools.islice(source.stream(seed=3), ROWS)]
    repeat = [item.row for item in itertools.islice(source.stream(seed=3), ROWS)]
    require(again == repeat, "a seeded stream must be the same each time")
    some = [item.row for item in source.stream(seed=None, rows=RowSet.of(np.array(rows[1::2])))]
    require(some == rows[1::2], f"a stream must yield the rows that it is asked for, {rows[1::2]}, got {some}")
    read = source.read(np.array(rows[:1]))
    require([first[0].key] == read.keys + read.broken, "a stream's keys must be those of read()")
    return ""


def _splits(dataset: Dataset) -> str:
    source = _source(dataset)
    size = max(1, source.num_rows // 10)
    chosen = assign_splits(source, Splits(clean=size, validation=size, test=size), pretrain="drawn", place=dataset.name)
    rows = np.concatenate(list(chosen.values()))
    require(len(np.unique(rows)) == len(rows), "no row may be in two splits")
    require(bool(((rows >= 0) & (rows < source.num_rows)).all()), "rows of splits must be rows of the set")
    return ", ".join(f"{name} {len(part)}" for name, part in chosen.items())
