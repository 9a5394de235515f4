"""What an attack may use when it poisons a pool: see `types.PoisonContext`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from benchmark.data.cached_pool import CachedPool
from benchmark.data.streamed_pool import StreamedPool
from benchmark.errors import CardError, must
from benchmark.store.keys import derive_seed
from benchmark.text import target_index, whole_word

if TYPE_CHECKING:
    import torch

    from benchmark.types import Model

TEMPLATES = ("held_out", "as_published")


@dataclass
class GatedPoisonContext:
    """The engine's side of `types.PoisonContext`."""

    pool: CachedPool | StreamedPool  # the clean pre-training pairs
    class_names: Sequence[str]  # of the evaluation
    caption_templates: Sequence[str]  # for poisoned captions
    evaluation_templates: Sequence[str]  # prompts of the zero-shot head
    seed: int  # of the experiment
    make_surrogate: Callable[[], Model] | None = None  # loads the attacker's own clean model
    rng: np.random.Generator = field(init=False)  # draws rows

    def __post_init__(self) -> None:
        """Starts the draws."""
        self.rng = np.random.Generator(np.random.PCG64(derive_seed(self.seed, "poison rows")))

    @property
    def num_rows(self) -> int:
        """Rows of the pool."""
        return self.pool.num_rows

    @property
    def labels(self) -> np.ndarray | None:
        """(N,) int64 where the pool is labelled; a copy, which an attack may write into."""
        return None if self.pool.labels is None else self.pool.labels.copy()

    @property
    def surrogate(self) -> Model:
        """The attacker's own clean model.

        Raises:
            CardError: the card does not name "surrogate".
        """
        if self.make_surrogate is None:
            raise CardError("the attack asked for 'surrogate', which its card does not name; add it to card.needs")
        return self.make_surrogate()

    def captions(self, rows: np.ndarray) -> list[str]:
        """Captions of the given rows."""
        return self.pool.captions(rows)

    def images(self, rows: np.ndarray) -> torch.Tensor:
        """(B, 3, H, W) uint8 images of the given rows of a cached pool, for triggers that are fitted on images."""
        if not isinstance(self.pool, CachedPool):
            raise must("data.streaming", "false for an attack that reads images by row", True, "cache the set")
        return self.pool.take(rows).images

    def real_captions(self, target: str, count: int) -> list[str]:
        """Captions of the pool that hold the target as a word, drawn with replacement.

        Raises:
            UserError: no caption holds it.
        """
        rows = self._rows_with_word(target)
        if not len(rows):
            raise must("attack.captions", "templates where no caption holds the target", "real", "change it")
        return self.pool.captions(rows[self._draws(len(rows), count)])

    def rows_naming(self, target: str) -> np.ndarray:
        """(K,) int64 rows of the class `target`: by label where the pool has labels, else by caption."""
        index = target_index(target, self.class_names)
        if self.labels is None or index is None:
            return self._rows_with_word(target)
        return np.flatnonzero(self.labels == index).astype(np.int64)

    def _rows_with_word(self, target: str) -> np.ndarray:
        """A stream is read through once for it."""
        word = whole_word(target)
        captions = self.pool.captions(np.arange(self.pool.num_rows))
        return np.array([row for row, caption in enumerate(captions) if word.search(caption)], np.int64)

    def target_captions(self, target: str, count: int, *, templates: str) -> list[str]:
        """Captions that name the target class.

        Args:
            target: the class; it must be one of `class_names`, or part of exactly one of them.
            count: how many.
            templates: "held_out": the caption templates; "as_published": the evaluation prompts.

        Raises:
            UserError: unknown target, or held-out templates that evaluation uses too.
        """
        if templates not in TEMPLATES:
            raise must("templates", f"one of {', '.join(TEMPLATES)}", templates, "choose one of them")
        chosen = self.caption_templates if templates == "held_out" else self.evaluation_templates
        if templates == "held_out":
            self._check_disjoint()
        if not chosen:
            raise must(f"{templates} templates", "at least one", (), "give the data set templates with one '{}'")
        name = self.class_names[index] if (index := target_index(target, self.class_names)) is not None else target
        return [chosen[int(pick)].format(name) for pick in self._draws(len(chosen), count)]

    def _draws(self, options: int, count: int) -> np.ndarray:
        """(count,) int64 below `options`: which caption each poisoned pair gets."""
        rng = np.random.Generator(np.random.PCG64(derive_seed(self.seed, "poison captions")))
        return rng.integers(options, size=count)

    def _check_disjoint(self) -> None:
        known = {template.casefold().strip() for template in self.evaluation_templates}
        shared = [template for template in self.caption_templates if template.casefold().strip() in known]
        if shared:
            raise must(
                "caption_templates of the data set",
                "disjoint from its evaluation_templates for templates=held_out",
                shared[0],
                "change one of the lists, or choose templates=as_published",
            )
