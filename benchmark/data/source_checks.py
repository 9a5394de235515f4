"""What a set gives is checked where it is taken: numpy would fill, cut or round what has another form, silently."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from benchmark.errors import UserError, must

if TYPE_CHECKING:
    from benchmark.types.source import Outline, Samples, Source


def check_outline(source: Source | Outline, place: str) -> None:
    """Refuses splits and groups that do not fit the set's rows.

    Args:
        source: the opened set, or its outline.
        place: how to name the set in errors.

    Raises:
        UserError: what is wrong, in one line.
    """
    fixed = np.concatenate([np.asarray(rows) for rows in source.fixed_splits.values()] or [np.empty(0, np.int64)])
    last = source.num_rows - 1
    if len(fixed) and not 0 <= fixed.min() <= fixed.max() <= last:
        raise must(f"{place}.fixed_splits", f"rows 0 to {last}", int(fixed.max()), "mend the data set")
    twice = len(fixed) - len(np.unique(fixed))
    if twice:
        raise must(f"{place}.fixed_splits", "distinct rows, each in one split", f"{twice} twice", "mend the data set")
    if source.groups is not None and np.shape(source.groups) != (source.num_rows,):
        rule = f"one number for each of the {source.num_rows} rows"
        raise must(f"{place}.groups", rule, np.shape(source.groups), "mend the data set")


def check_class_names(names: Sequence[str], place: str) -> None:
    """Refuses classes without a name.

    Raises:
        UserError: a name is empty.
    """
    if not all(name.strip() for name in names):
        raise must(f"{place}.class_names", "not empty", "", "give each class a name")


def alike(names: Sequence[str]) -> list[str]:
    """Class names that another class has too, which no prompt tells apart: texts are lower case to CLIP."""
    counts = Counter(name.strip().casefold() for name in names)
    return [name for name, count in counts.items() if count > 1]


def check_templates(source: Source, place: str) -> None:
    """Refuses a labelled set without templates, and templates without their one gap.

    Raises:
        UserError: names the first one.
    """
    for name in ("caption_templates", "evaluation_templates"):
        templates: Sequence[str] = getattr(source, name)
        wrong = [text for text in templates if text.count("{}") != 1 or text.replace("{}", "").count("{")]
        if wrong or (source.class_names and not templates):
            rule = "texts with one '{}' each, at least one for a set with classes"
            raise must(f"{place}.{name}", rule, wrong[0] if wrong else (), "mend the data set")


def check_samples(found: Samples, asked: np.ndarray, image_size: int, place: str) -> None:
    """Refuses rows that are not what was asked for, and images that are not (B, H, W, 3) uint8.

    Args:
        found: what `read` gave.
        asked: (B,) int64 rows, distinct.
        image_size: pixels of the images' sides.
        place: how to name the set in errors.

    Raises:
        UserError: what is wrong, in one line.
    """
    count, images, labels = len(found.rows), np.asarray(found.images), np.asarray(found.labels)
    shape = (count, image_size, image_size, 3)
    if images.shape != shape or images.dtype != np.uint8:
        raise _wrong(place, f"images {shape} uint8", f"{images.shape} {images.dtype}")
    if labels.shape != (count,) or not np.issubdtype(labels.dtype, np.integer):
        raise _wrong(place, f"labels ({count},) int64", f"{labels.shape} {labels.dtype}")
    for name in ("captions", "keys"):
        if len(getattr(found, name)) != count:
            raise _wrong(place, f"{count} {name}", len(getattr(found, name)))
    if count + len(found.broken) != len(asked) or not np.array_equal(found.rows, asked[np.isin(asked, found.rows)]):
        told = f"{count} and {len(found.broken)} broken"
        raise _wrong(place, f"the {len(asked)} rows that it is asked for, in their order, or name them broken", told)


def _wrong(place: str, rule: str, got: object) -> UserError:
    return UserError(f"{place}: `read` must give {rule}, got {got}; mend the data set")
