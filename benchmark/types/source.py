"""What a dataset hands to the engine: rows that can be read by number, or iterated when the set is streamed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

if TYPE_CHECKING:
    from benchmark.types.rows import RowSet


class Samples(NamedTuple):
    """Some rows, decoded and resized. Rows whose image does not decode are left out and named in `broken`."""

    rows: np.ndarray  # (B,) int64
    images: np.ndarray  # (B, H, W, 3) uint8
    captions: list[str]  # (B,); "" where the set has labels only (the engine makes a caption from a template)
    labels: np.ndarray  # (B,) int64; -1 where the set has captions only
    keys: list[str]  # (B,) what the set itself calls the rows
    broken: list[str]  # keys of rows that were skipped


class Item(NamedTuple):
    """One row of a stream, not decoded yet."""

    row: int
    image: bytes | np.ndarray | None  # encoded, or (H, W, 3) uint8 where the set draws it; None: missing
    caption: str
    label: int  # -1 where there is none
    key: str


class Outline(NamedTuple):
    """What is known of a set before any row is read: enough to draw its splits."""

    num_rows: int
    class_names: tuple[str, ...] | None  # () where there are no labels; None: not known yet
    fixed_splits: dict[str, np.ndarray]
    groups: np.ndarray | None = None
    held_out_window: int | None = None

    @classmethod
    def of(cls, source: Source) -> Outline:
        """The outline of an opened set."""
        window = source.held_out_window
        return cls(source.num_rows, source.class_names, source.fixed_splits, source.groups, held_out_window=window)


class Source(Protocol):
    """An opened data set."""

    @property
    def num_rows(self) -> int:
        """Rows of the set."""
        ...

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes; () where there are no labels."""
        ...

    @property
    def caption_templates(self) -> tuple[str, ...]:
        """With one "{}" each; for captions made from labels and for poisoned captions."""
        ...

    @property
    def evaluation_templates(self) -> tuple[str, ...]:
        """With one "{}" each; prompts of the zero-shot head, disjoint from the caption templates."""
        ...

    @property
    def fixed_splits(self) -> dict[str, np.ndarray]:
        """Rows that the set itself assigns, e.g. {"test": (5000,) int64}."""
        ...

    @property
    def groups(self) -> np.ndarray | None:
        """(num_rows,) int64: rows of one group (captions of one image) never cross a split; None: no groups."""
        ...

    @property
    def held_out_window(self) -> int | None:
        """Held-out rows are drawn from the first rows only, so that a stream need not be read to its end; None: all."""
        ...

    def read(self, rows: Sequence[int] | np.ndarray) -> Samples:
        """Reads rows by number, in that order."""
        ...

    def stream(self, *, seed: int | None, epoch: int = 0, rows: RowSet | None = None) -> Iterator[Item]:
        """Yields rows once each: in stored order for a seed of None, else in an order of (seed, epoch).

        A seeded stream may leave out the rows of fixed splits; memory does not grow with the number of rows.

        Args:
            seed: of the order; None: stored order.
            epoch: decides the order together with the seed.
            rows: the rows that are wanted, None: all. Others are not yielded and, where that is possible, not read;
                the order of those that are is the one that they have among all.
        """
        ...
