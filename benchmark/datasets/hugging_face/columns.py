"""Which columns of a table hold image, caption, label, key and group, and how one record becomes an item."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmark.datasets.hugging_face.fields import HuggingFaceFields
from benchmark.errors import UserError, must, unknown
from benchmark.types.source import Item

IMAGE_NAMES = ("image", "img", "jpg", "jpeg", "png", "webp", "image_path", "filepath", "file_name", "path")
CAPTION_NAMES = ("caption", "captions", "text", "txt", "title", "sentence")
LABEL_NAMES = ("label", "labels", "cls", "class", "fine_label")


class Columns(NamedTuple):
    """Names of the columns in use."""

    image: str
    caption: str | None
    label: str | None
    key: str | None
    group: str | None

    @property
    def used(self) -> list[str]:
        """The columns that are read at all."""
        return sorted({name for name in self if name is not None})


def resolve(spec: HuggingFaceFields, names: Sequence[str], types: Mapping[str, str]) -> Columns:
    """Finds the columns: those that the fields name, else by type and usual names.

    Args:
        spec: the set.
        names: of its columns, in order.
        types: names of the library's types ("Image", "ClassLabel", …) by column, where they are known.

    Raises:
        UserError: a column that is not there (with suggestions), no image, or neither caption nor label.
    """

    def find(field: str, kind: str | None, usual: Sequence[str]) -> str | None:
        given = getattr(spec, field)
        if given is not None:
            if given not in names:
                raise UserError(f"{spec.name}.{field}: {unknown('column', given, names)} (columns: {', '.join(names)})")
            return given
        typed = [name for name in names if kind is not None and types.get(name) == kind]
        return next(iter([*typed, *(name for name in usual if name in names)]), None)

    image = find("image_column", "Image", IMAGE_NAMES)
    caption = find("caption_column", None, CAPTION_NAMES)
    label = find("label_column", "ClassLabel", LABEL_NAMES)
    if image is None or (caption is None and label is None):
        missing = "image_column" if image is None else "caption_column or label_column"
        raise UserError(f"{spec.name}.{missing} must name a column, got None; the columns are {', '.join(names)}")
    found = Columns(image, caption, label, find("key_column", None, ("__key__",)), find("group_column", None, ()))
    for name in found.used:
        if list(names).count(name) > 1:  # readers do not agree which of them is meant
            raise must(f"{spec.name}: column {name!r}", "there once", list(names).count(name), "rename the others")
    return found


class Reader(NamedTuple):
    """Turns records of one split into items."""

    split: str
    columns: Columns
    root: Path | None  # of local files; names in manifests are relative to it
    base: Path | None  # where image paths of a table start
    labels: Mapping[Any, int] | None  # stored label to class; None: stored as class numbers

    def item(self, row: int, record: Mapping[str, Any]) -> Item:
        """Reads one record; the image stays encoded."""
        columns = self.columns
        image, path = self._image(record[columns.image])
        key = record[columns.key] if columns.key else path or f"{self.split}/{row}"
        return Item(row, image, self._caption(record, row), self._label(record), str(key))

    def _image(self, value: Any) -> tuple[bytes | np.ndarray | None, str]:
        """The encoded image, None where it is missing, and its name."""
        if isinstance(value, Mapping):
            path = value.get("path") or ""
            data = value.get("bytes")
            return (data if data is not None else self._read(path)), self._relative(path)
        if isinstance(value, str):
            return self._read(value), self._relative(os.path.join(self.base or "", value))
        if value is None or isinstance(value, bytes):
            return value, ""
        if not hasattr(value, "convert"):
            place, rule = f"split {self.split!r}, column {self.columns.image!r}", "images, encoded ones or paths"
            raise must(place, rule, value, "choose another image_column")
        return np.asarray(value.convert("RGB")), ""  # a stream without a schema decodes by itself

    def _read(self, path: str) -> bytes | None:
        return _read(path if "://" in path else os.path.join(self.base or "", path)) if path else None

    def _relative(self, path: str) -> str:
        if self.root is not None and os.path.isabs(path):
            return os.path.relpath(path, self.root.resolve() if not path.startswith(str(self.root)) else self.root)
        return path

    def _caption(self, record: Mapping[str, Any], row: int) -> str:
        value = record[self.columns.caption] if self.columns.caption else None
        if isinstance(value, list):  # several captions of one image: each row keeps one
            value = value[row % len(value)] if value else None
        return str(value).strip() if value is not None else ""

    def _label(self, record: Mapping[str, Any]) -> int:
        value = record[self.columns.label] if self.columns.label else None
        if value is None or value in (-1, "") or value != value:  # hidden or missing labels
            return -1
        if self.labels is None:
            return self._number(value)
        if value not in self.labels:
            wrong = unknown("class", str(value), map(str, self.labels))
            raise UserError(f"{self._label_place}: {wrong}; name all classes in class_names")
        return self.labels[value]

    def _number(self, value: Any) -> int:
        """A class number, also where a column with gaps stores it as a float."""
        try:
            number = int(value)
        except (TypeError, ValueError):
            number = None
        if number is None or number != value:
            raise must(self._label_place, "class numbers", value, "mend the column, or choose another label_column")
        return number

    @property
    def _label_place(self) -> str:
        return f"split {self.split!r}, column {self.columns.label!r}"


def _read(path: str) -> bytes | None:
    try:
        if "://" in path:
            import fsspec

            with fsspec.open(path, "rb") as file:
                return file.read()  # type: ignore[union-attr]
        return Path(path).read_bytes() if os.path.isfile(path) else None  # to open a pipe would wait for ever
    except OSError:
        return None


def class_names(spec: HuggingFaceFields, stored: Sequence[Any], *, place: str) -> tuple[str, ...]:
    """Names of the classes as captions and prompts say them.

    Args:
        spec: the set; its `class_names` win.
        stored: names of the ClassLabel column, or the distinct labels of a text column; () where there are neither.
        place: the label column, for errors.
    """
    if spec.class_names:
        return spec.class_names
    if not stored:
        raise UserError(
            f"{spec.name}.class_names must name the classes of column {place!r} in the order of its numbers, got (); "
            'give them, e.g. class_names=["cat","dog"]'
        )
    _check_told_apart(spec, [str(name) for name in stored], place)
    short = [spec.display_name(str(name)) for name in stored]
    # shortened names that fall together stay whole
    return tuple(str(whole) if short.count(name) > 1 else name for name, whole in zip(short, stored, strict=True))


def _check_told_apart(spec: HuggingFaceFields, names: Sequence[str], place: str) -> None:
    """Refuses one class that is written in two ways."""
    bare: dict[str, str] = {}
    for name in names:
        other = bare.setdefault(name.strip(), name)
        if other != name:
            rule = "classes that differ by more than spaces at their ends"
            raise must(f"{spec.name}: column {place!r}", rule, (other, name), "mend the column")
