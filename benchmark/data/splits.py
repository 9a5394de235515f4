"""Which rows of a set go into which of the disjoint splits: seeded, with the set's own test rows respected."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

import numpy as np

from benchmark.data.source_checks import check_outline
from benchmark.errors import UserError
from benchmark.store.keys import derive_seed

if TYPE_CHECKING:
    from benchmark.config.spec import Splits
    from benchmark.types import Dataset
    from benchmark.types.source import Outline, Source

Pretrain = Literal["drawn", "streamed", "none"]
HELD_OUT = ("test", "validation", "clean")  # drawn in this order, so that test depends on no other size


def is_streamed(dataset: Dataset) -> bool:
    """Whether a set is read as a stream; one that has no such field never is."""
    return bool(getattr(dataset, "streaming", False))


def assign_splits(source: Source | Outline, splits: Splits, *, pretrain: Pretrain, place: str) -> dict[str, np.ndarray]:
    """Draws the splits.

    Args:
        source: the opened set, or its outline.
        splits: sizes and seed.
        pretrain: "drawn" like the others; "streamed": rows are left for it, but not listed, since the list would grow
            with the set; "none": the set serves evaluation only.
        place: how to name the set in errors.

    Returns:
        Split name to sorted (n,) int64 rows; see `outside_rows` for the one that is left.

    Raises:
        UserError: fewer rows than the splits ask for, or splits of the set's own that do not fit its rows.
    """
    check_outline(source, place)
    rng = np.random.Generator(np.random.PCG64(derive_seed(splits.seed, "splits")))
    if source.groups is not None:
        return _choose_by_group(source, splits, rng, pretrain=pretrain, place=place)
    chosen: dict[str, np.ndarray] = {}
    for name, rows in source.fixed_splits.items():
        chosen[name] = _draw(rows, getattr(splits, name), rng, f"{place}: split {name!r}")
    free = _Free(source)
    drawn = [name for name in HELD_OUT if name not in chosen]
    sizes = [getattr(splits, name) for name in drawn]
    window = min(source.held_out_window or free.count, free.count)
    need = sum(sizes) + (0 if pretrain == "none" else (splits.pretrain or 1) + splits.outside)
    if free.count < need or window < sum(sizes):
        raise _too_few(place, splits, free.count if free.count < need else window, need, source)
    held = rng.choice(window, size=sum(sizes), replace=False)
    for name, part in zip(drawn, np.split(held, np.cumsum(sizes)[:-1]), strict=True):
        chosen[name] = free.rows(np.sort(part))
    if pretrain == "drawn":
        left = np.setdiff1d(np.arange(free.count), held)
        if splits.pretrain is not None or splits.outside:
            left = np.sort(rng.choice(left, size=pretrain_size(len(left), splits), replace=False))
        chosen["pretrain"] = free.rows(left)
    return chosen


def outside_rows(source: Source | Outline, splits: Splits, *, place: str) -> np.ndarray:
    """Draws the rows that a clean model from outside is trained on; no other split, and no group of one, holds any.

    Args:
        source: the opened set, or its outline.
        splits: sizes and seed; the other splits do not depend on whether this one is asked for.
        place: how to name the set in errors.

    Returns:
        (n,) int64 sorted rows.

    Raises:
        UserError: too few unused rows.
    """
    chosen = assign_splits(source, splits, pretrain="drawn", place=place)
    taken = np.concatenate([*chosen.values(), *source.fixed_splits.values()])
    free = np.setdiff1d(np.arange(source.num_rows), taken)
    if source.groups is not None:
        groups = np.asarray(source.groups)
        free = free[~np.isin(groups[free], groups[taken])]
    rng = np.random.Generator(np.random.PCG64(derive_seed(splits.seed, "outside")))
    return np.sort(rng.choice(free, size=outside_size(len(free), splits, place=place), replace=False))


def num_outside(source: Source | Outline, splits: Splits, dataset: Dataset) -> int:
    """How many pairs the split `outside` has.

    Raises:
        UserError: too few unused rows.
    """
    if not is_streamed(dataset):
        return len(outside_rows(source, splits, place=dataset.name))
    held_out = excluded_rows(source, assign_splits(source, splits, pretrain="streamed", place=dataset.name))
    left = source.num_rows - len(held_out)
    return outside_size(left - pretrain_size(left, splits), splits, place=dataset.name)


def excluded_rows(source: Source | Outline, chosen: Mapping[str, np.ndarray]) -> np.ndarray:
    """(E,) int64 rows that a stream leaves out: the held-out ones, and all that the set assigns itself."""
    return np.unique(np.concatenate([*chosen.values(), *source.fixed_splits.values()]))


def pretrain_size(left: int, splits: Splits) -> int:
    """Pre-training pairs among `left` rows that no held-out split has."""
    return splits.pretrain or left - splits.outside


def outside_size(unused: int, splits: Splits, *, place: str) -> int:
    """Pairs of the split `outside` among rows that no other split has.

    Raises:
        UserError: there are too few.
    """
    size = splits.outside or min(splits.pretrain or 0, unused)
    if not 0 < size <= unused:
        raise UserError(
            f"{place}: rows for a clean model from outside must be at least {size or 1} that no other split has, got "
            f"{unused}; give more rows, make splits.pretrain smaller, or reserve some with --set splits.outside=…"
        )
    return size


class _Free:
    """Rows that the set does not assign itself; no list of them is made where they are the first ones."""

    def __init__(self, source: Source | Outline) -> None:
        fixed = np.concatenate([*source.fixed_splits.values(), np.empty(0, np.int64)])
        self.count = source.num_rows - len(fixed)
        at_end = not len(fixed) or fixed.min() >= self.count
        self._rows = None if at_end else np.setdiff1d(np.arange(source.num_rows), fixed)

    def rows(self, places: np.ndarray) -> np.ndarray:
        return places if self._rows is None else self._rows[places]


def _draw(rows: np.ndarray, size: int, rng: np.random.Generator, place: str) -> np.ndarray:
    if len(rows) < size:
        raise UserError(f"{place} must have at least {size} rows, got {len(rows)}; make it smaller with --set splits")
    return np.sort(rng.choice(rows, size=size, replace=False))


def _choose_by_group(
    source: Source | Outline, splits: Splits, rng: np.random.Generator, *, pretrain: Pretrain, place: str
) -> dict[str, np.ndarray]:
    """Whole groups go into one split; validation and test keep one row of each group, so that partners are unique."""
    groups = np.asarray(source.groups)
    taken = np.zeros(source.num_rows, bool)
    chosen: dict[str, np.ndarray] = {}
    for name, rows in source.fixed_splits.items():
        taken[np.isin(groups, groups[rows])] = True
        chosen[name] = _draw(_one_per_group(rows, groups), getattr(splits, name), rng, f"{place}: split {name!r}")
    free = np.flatnonzero(~taken)
    order = rng.permutation(np.unique(groups[free]))
    rank = np.empty(int(groups.max()) + 1, np.int64)
    rank[order] = np.arange(len(order))
    free = free[np.argsort(rank[groups[free]], kind="stable")]
    for name in HELD_OUT:
        if name in chosen:
            continue
        size = getattr(splits, name)
        pool = free if name == "clean" else _one_per_group(free, groups)
        if len(pool) < size:
            raise _too_few(place, splits, len(pool), size, source)
        last = groups[pool[size - 1]]
        chosen[name] = np.sort(pool[:size])
        free = free[np.flatnonzero(rank[groups[free]] > rank[last])]
    if pretrain == "drawn":
        size = splits.pretrain or max(len(free) - splits.outside, 1)
        if len(free) < size + splits.outside:
            raise _too_few(place, splits, len(free), size + splits.outside, source)
        if splits.pretrain is None and splits.outside:
            size = int(np.flatnonzero(groups[free] == groups[free[size]])[0])  # no group is cut
        chosen["pretrain"] = np.sort(free[:size])
    return chosen


def _one_per_group(rows: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """The first row of each group, in the order of `rows`."""
    return rows[np.sort(np.unique(groups[rows], return_index=True)[1])]


def _too_few(place: str, splits: Splits, got: int, need: int, source: Source | Outline) -> UserError:
    asked = ", ".join(
        f"{name} {getattr(splits, name)}" for name in (*HELD_OUT, "pretrain") if name not in source.fixed_splits
    ) + (f", outside {splits.outside}" if splits.outside else "")
    return UserError(
        f"{place}: rows to draw splits from must be at least {need} ({asked}), got {got}; "
        "give more rows or make splits smaller with --set splits.clean=…"
    )
