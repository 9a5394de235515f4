"""Local folders and files: which format they are in, and which files make which split."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Literal, NamedTuple

from benchmark.errors import UserError, unknown

Format = Literal["parquet", "webdataset", "imagefolder", "csv"]
SUFFIXES: dict[str, tuple[str, ...]] = {
    "parquet": (".parquet",),
    "webdataset": (".tar",),
    "imagefolder": (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif"),
    "csv": (".csv", ".tsv"),
}
METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
SPLIT_WORDS = ("train", "validation", "valid", "val", "dev", "test")


class Layout(NamedTuple):
    """Local files of a set."""

    format: Format
    root: Path
    splits: dict[str, tuple[Path, ...]]  # files by split; an image folder's splits hold all of its files


def find_layout(path: Path, *, format: Format | None, splits: Iterable[str], place: str) -> Layout:
    """Finds the files of the splits that are asked for.

    Args:
        path: a folder or one file.
        format: None to tell it by the files' suffixes.
        splits: names of the splits that are wanted; the first takes all files where no file names a split.
        place: how to name the set in errors.

    Raises:
        UserError: no such path, no file of a known format, or a split without files.
    """
    path = path.expanduser()
    if not path.exists():
        raise UserError(
            f"{place}.path must be a folder or a file, got {str(path)!r}; no such path: give an existing one"
        )
    root = path if path.is_dir() else path.parent
    files = sorted(file for file in path.rglob("*") if _visible(file, path)) if path.is_dir() else [path]
    kind = format or _detect(files)
    if kind is not None and kind != "imagefolder":
        files = [file for file in files if file.suffix.lower() in SUFFIXES[kind] and file.name not in METADATA]
    if kind is None or not files:
        known = ", ".join(suffix for suffixes in SUFFIXES.values() for suffix in suffixes)
        raise UserError(f"{place}.path must hold files of {kind or known}, got {str(path)!r}; point it at the data")
    wanted = tuple(splits)
    return Layout(kind, root, _by_split(files, root, wanted, place))


def image_folder(layout: Layout, split: str) -> Path | None:
    """Where the image paths in a split's tables start: their folder. None: the format has no such tables.

    Raises:
        UserError: CSV files in several folders.
    """
    if layout.format not in ("csv", "parquet"):
        return None
    folders = {file.parent for file in layout.splits[split]}
    if len(folders) == 1:
        return folders.pop()
    if layout.format == "csv":
        raise UserError(
            f"{str(layout.root)!r} must hold the CSV files of split {split!r} in one folder, got {len(folders)}; "
            "image paths are relative to it: move them together"
        )
    return layout.root  # Parquet mostly holds the images themselves


def _visible(file: Path, root: Path) -> bool:
    return file.is_file() and not any(part.startswith(".") for part in file.relative_to(root).parts)


def _detect(files: list[Path]) -> Format | None:
    suffixes = {file.suffix.lower() for file in files if file.name not in METADATA}
    metadata = any(file.name in METADATA for file in files)
    for kind in ("parquet", "webdataset", "csv", "imagefolder"):
        if suffixes & set(SUFFIXES[kind]) and not (metadata and kind != "imagefolder"):
            return kind
    return None


def _by_split(files: list[Path], root: Path, wanted: tuple[str, ...], place: str) -> dict[str, tuple[Path, ...]]:
    found: dict[str, list[Path]] = {}
    for file in files:
        found.setdefault(_split_of(file.relative_to(root), wanted), []).append(file)
    if set(found) == {""}:
        found = {wanted[0]: found[""]}
    for name in wanted:
        if name not in found:
            raise UserError(
                f"{place}: {unknown('split', name, [split for split in found if split])} "
                f"(in {str(root)!r}); set {place}.train_split or {place}.test_split (null: no fixed test split)"
            )
    return {name: tuple(found[name]) for name in wanted}


def _split_of(relative: Path, wanted: tuple[str, ...]) -> str:
    """The split that a file's folders or name spell as a word of its own, the outermost first; "" for none."""
    for part in (*relative.parts[:-1], relative.stem):
        words = re.split(r"[^a-z0-9]+", part.lower())
        for split in (*wanted, *SPLIT_WORDS):
            if split.lower() in words or split.lower() == part.lower():
                return split
    return ""
