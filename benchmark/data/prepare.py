"""The `data` stage: opens a set, splits it, makes captions, and decodes every image once into a memory-mapped cache.

`images.npy` (N, H, W, 3) uint8 and `rows.parquet` hold the splits behind one another, each in the order of the set's
rows; `images.npy` may end with unused places where rows were skipped. Of a streamed set only the held-out splits are
cached; `excluded.npy` names the rows that its stream must leave out.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmark.data.images import Decoder, chunks, decode_items, decoder_of
from benchmark.data.source_checks import check_samples, check_templates
from benchmark.data.splits import (
    assign_splits,
    excluded_rows,
    is_streamed,
    outside_rows,
    outside_size,
    pretrain_size,
)
from benchmark.errors import UserError
from benchmark.store.keys import derive_seed
from benchmark.types.rows import RowSet
from benchmark.types.source import Item, Samples, Source

if TYPE_CHECKING:
    from benchmark.config.spec import Splits
    from benchmark.types import Dataset

CHUNK = 1024
SPLITS = ("pretrain", "clean", "validation", "test", "outside")
KEYS_SHOWN = 20
Progress = Callable[[int, int], None]  # rows done, rows in all


def prepare_data(
    dataset: Dataset,
    splits: Splits,
    *,
    image_size: int,
    held_out_only: bool,
    judges_only: bool = False,
    folder: Path,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Writes the cache of a set.

    Args:
        dataset: which set.
        splits: sizes and seed of the splits.
        image_size: pixels of the cached images' sides.
        held_out_only: cache clean, validation and test only, where pre-training rows are streamed later or never read.
        judges_only: the set evaluates models and nothing else: of one that is not streamed the clean rows are left out.
        folder: where to write `images.npy`, `rows.parquet` and `excluded.npy`.
        progress: called with (rows done, rows in all).

    Returns:
        Facts about the set: class_names, templates, num_rows, split sizes, broken images, skipped rows.

    Raises:
        UserError: missing files or columns, too few rows, labels outside class_names, more than half of the rows
            broken or without a caption.
    """
    source = dataset.open(image_size=image_size)
    facts, streamed = _facts(dataset, source, splits, image_size), is_streamed(dataset)
    pretrain = "drawn" if not held_out_only else "streamed" if streamed else "none"
    chosen = assign_splits(source, splits, pretrain=pretrain, place=dataset.name)
    # nobody trains on a set that only judges, so that its clean rows are drawn and left alone
    kept = [name for name in SPLITS if name in chosen and not (judges_only and not streamed and name == "clean")]
    chosen = {name: chosen[name] for name in kept}
    writer = _Writer(folder, dataset.name, source, splits.seed, image_size, sum(map(len, chosen.values())))
    decoder = decoder_of(dataset) if streamed else None
    sizes = _write_parts(writer, _read(source, chosen, image_size, decoder, dataset.name), progress)
    if pretrain == "streamed":
        excluded = excluded_rows(source, chosen)
        np.save(folder / "excluded.npy", excluded)
        sizes = {"pretrain": pretrain_size(source.num_rows - len(excluded), splits)} | sizes
    return facts | {
        "held_out_only": held_out_only,
        "splits": sizes,
        **_left_out(writer.broken, writer.empty),
    }


def prepare_outside(
    dataset: Dataset, splits: Splits, *, image_size: int, folder: Path, progress: Progress | None = None
) -> dict[str, Any]:
    """Writes the pairs of a clean model from outside, rows that no other split has; arguments as in `prepare_data`.

    Of a streamed set nothing is cached but `excluded.npy`: its rows are those that come behind the pre-training ones.

    Returns:
        Facts like those of `prepare_data`; `first`, where it is streamed: how many rows of the stream come before.

    Raises:
        UserError: as in `prepare_data`, or too few rows that no other split has.
    """
    source = dataset.open(image_size=image_size)
    facts = _facts(dataset, source, splits, image_size)
    if is_streamed(dataset):
        excluded = excluded_rows(source, assign_splits(source, splits, pretrain="streamed", place=dataset.name))
        np.save(folder / "excluded.npy", excluded)
        left = source.num_rows - len(excluded)
        first = pretrain_size(left, splits)
        sizes = {"outside": outside_size(left - first, splits, place=dataset.name)}
        return facts | {"held_out_only": True, "splits": sizes, "first": first, **_left_out([], [])}
    chosen = {"outside": outside_rows(source, splits, place=dataset.name)}
    writer = _Writer(folder, dataset.name, source, splits.seed, image_size, len(chosen["outside"]))
    sizes = _write_parts(writer, _read(source, chosen, image_size, None, dataset.name), progress)
    return facts | {"held_out_only": False, "splits": sizes, **_left_out(writer.broken, writer.empty)}


def _write_parts(writer: _Writer, parts: Iterable[tuple[str, Samples]], progress: Progress | None) -> dict[str, int]:
    """Writes what is read; returns the sizes of the splits."""
    done = 0
    for split, samples in parts:
        writer.add(split, samples)
        done += len(samples.rows) + len(samples.broken)
        if progress is not None:
            progress(done, writer.capacity)
    return writer.close()


def _left_out(broken: list[str], empty: list[str]) -> dict[str, Any]:
    """How many rows were skipped, by reason, and what the set calls the first of them."""
    kinds = {"broken": broken, "empty_captions": empty}
    return {name: {"count": len(keys), "keys": keys[:KEYS_SHOWN]} for name, keys in kinds.items()}


def _facts(dataset: Dataset, source: Source, splits: Splits, image_size: int) -> dict[str, Any]:
    check_templates(source, dataset.name)
    return {
        "class_names": list(source.class_names),
        "caption_templates": list(source.caption_templates),
        "evaluation_templates": list(source.evaluation_templates),
        "num_rows": source.num_rows,
        "expected_rows": dict(getattr(dataset, "expected_rows", {})),
        "image_size": image_size,
        "seed": splits.seed,
    }


def new_images(file: Path, shape: tuple[int, ...]) -> np.memmap:
    """Opens a new uint8 array on the disk, with all its space taken: a page that finds none later ends the process.

    Raises:
        OSError: there is no space for it.
    """
    images = np.lib.format.open_memmap(file, mode="w+", dtype=np.uint8, shape=shape)
    with open(file, "r+b") as opened:
        try:
            os.posix_fallocate(opened.fileno(), 0, file.stat().st_size)
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(file)) from None
    return images


def captions_for(source: Source, rows: np.ndarray, captions: Sequence[str], labels: np.ndarray, seed: int) -> list[str]:
    """Fills in the captions of labelled rows: the template is a pure function of (seed, row).

    Args:
        source: gives class names and caption templates.
        rows: (B,) int64.
        captions: (B,) as the set gives them; "" where it has none.
        labels: (B,) int64, -1 where there is none.
        seed: of the splits.

    Returns:
        (B,) captions; "" where there is neither caption nor label.
    """
    from benchmark.rng import hashed_uniform

    if not len(rows) or not source.class_names:
        return list(captions)
    templates, names = source.caption_templates, source.class_names
    draws = hashed_uniform(derive_seed(seed, "captions"), rows, 1)[:, 0].numpy()
    picks = (draws * len(templates)).astype(np.int64).tolist()
    return [
        caption or (templates[pick].format(names[label]) if label >= 0 else "")
        for caption, pick, label in zip(captions, picks, labels.tolist(), strict=True)
    ]


def check_labels(labels: np.ndarray, source: Source, place: str) -> None:
    """Refuses labels that no class name answers to.

    Raises:
        UserError: names the first one.
    """
    bad = labels[(labels >= len(source.class_names)) | (labels < -1)] if source.class_names else labels[labels >= 0]
    if len(bad):
        raise UserError(
            f"{place}: labels must be 0 to {len(source.class_names) - 1} (one per class name), got {int(bad[0])}; "
            "mend the label column, or name every class in class_names"
        )


def _read(
    source: Source, chosen: dict[str, np.ndarray], image_size: int, decoder: Decoder | None, place: str
) -> Iterator[tuple[str, Samples]]:
    """Reads the splits in chunks; with a decoder, the images are decoded so as the stream is passed through once."""
    if decoder is None:
        for split, rows in chosen.items():
            for start in range(0, len(rows), CHUNK):
                asked = rows[start : start + CHUNK]
                found = source.read(asked)
                check_samples(found, asked, image_size, place)
                yield split, found
        return
    held_out = RowSet.of(np.concatenate(list(chosen.values())))
    for split, items in _collect(source.stream(seed=None, rows=held_out), chosen, place).items():
        for chunk in chunks(items, CHUNK):
            yield split, decode_items(chunk, image_size, decoder=decoder)


def _collect(stream: Iterable[Item], chosen: dict[str, np.ndarray], place: str) -> dict[str, list[Item]]:
    left = {row: split for split, rows in chosen.items() for row in rows.tolist()}
    found: dict[str, list[Item]] = {split: [] for split in chosen}
    for item in stream:
        split = left.pop(item.row, None)
        if split is None:
            raise _unlike(place, f"row {item.row} besides, or twice")
        found[split].append(item)
    if left:
        raise _unlike(place, f"none of {len(left)}, e.g. row {next(iter(left))}")
    return found


def _unlike(place: str, got: str) -> UserError:
    return UserError(f"{place}: `stream` must give each row that it is asked for once, got {got}; mend the data set")


class _Writer:
    """Writes rows behind one another; broken and caption-less rows leave no gap."""

    def __init__(self, folder: Path, place: str, source: Source, seed: int, image_size: int, capacity: int) -> None:
        self.capacity, self.broken, self.empty = capacity, list[str](), list[str]()
        self._folder, self._place, self._source, self._seed = folder, place, source, seed
        self._columns: dict[str, list[Any]] = {name: [] for name in ("row", "key", "caption", "label", "split")}
        shape = (capacity, image_size, image_size, 3)
        self._images = new_images(folder / "images.npy", shape)
        self._sizes: dict[str, int] = {}
        self._at = 0

    def add(self, split: str, samples: Samples) -> None:
        check_labels(samples.labels, self._source, self._place)
        captions = captions_for(self._source, samples.rows, samples.captions, samples.labels, self._seed)
        self.broken += samples.broken
        self.empty += [key for key, caption in zip(samples.keys, captions, strict=True) if not caption.strip()]
        good = np.flatnonzero([bool(caption.strip()) for caption in captions])
        self._images[self._at : self._at + len(good)] = samples.images[good]
        self._at += len(good)
        self._sizes[split] = self._sizes.get(split, 0) + len(good)
        self._columns["row"] += samples.rows[good].tolist()
        self._columns["label"] += samples.labels[good].tolist()
        self._columns["key"] += [samples.keys[place] for place in good]
        self._columns["caption"] += [captions[place] for place in good]
        self._columns["split"] += [split] * len(good)

    def close(self) -> dict[str, int]:
        """Checks what is left, writes `rows.parquet`, and returns the sizes of the splits."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        self._check(self.broken, "images that can be read", "are missing or broken", "mend or remove the files")
        self._check(self.empty, "rows with a caption or a label", "have neither", "choose another caption_column")
        for split, size in self._sizes.items():
            if not size:
                rule = f"rows that can be used for split {split!r}"
                raise UserError(f"{self._place}: there must be {rule}, got none; mend them, or make the split larger")
        self._images.flush()
        del self._images
        pq.write_table(pa.table(self._columns, schema=rows_schema()), self._folder / "rows.parquet")
        return {split: self._sizes[split] for split in SPLITS if split in self._sizes}

    def _check(self, bad: list[str], what: str, state: str, remedy: str) -> None:
        if 2 * len(bad) > self.capacity:
            raise UserError(
                f"{self._place}: {what} must be at least half of {self.capacity}, "
                f"got {self.capacity - len(bad)} ({len(bad)} {state}, e.g. {bad[0]!r}); {remedy}"
            )


def rows_schema() -> Any:
    """Columns of `rows.parquet`; row i of it belongs to image i of `images.npy`."""
    import pyarrow as pa

    return pa.schema(
        [
            ("row", pa.int64()),  # row in the data set
            ("key", pa.string()),  # what the set itself calls it
            ("caption", pa.string()),
            ("label", pa.int64()),  # -1 where there is none
            ("split", pa.string()),
        ]
    )
