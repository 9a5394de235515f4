"""The clean pairs of a rebound: those that do not tell of the target, so that nothing teaches or forbids it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from benchmark.data.pools import CachedPool
from benchmark.stages.cells import Cell
from benchmark.stages.common import required
from benchmark.stages.work.poison import load_poison
from benchmark.store.artifacts import Store
from benchmark.store.keys import derive_seed
from benchmark.text import target_index, whole_word


def target_names(store: Store, cell: Cell) -> list[str]:
    """The target as the attack calls it, and the whole name of its class; of chosen images, of all their targets."""
    attack, key = cell.experiment.attack, cell.keys.poison
    classes = required(store, "data", cell.keys.evaluation).facts["class_names"]
    names: list[str] = []
    if attack and attack.target_name:
        index = target_index(attack.target_name, classes)
        names = [attack.target_name, *([] if index is None else [classes[index]])]
    elif attack and key:
        victims = load_poison(required(store, "poison", key).folder).victims
        names = [classes[index] for index in np.unique(victims.targets)] if victims else []
    return list(dict.fromkeys(names))


def rows_without(pairs: CachedPool, names: Iterable[str], class_names: Sequence[str]) -> np.ndarray:
    """(n,) int64 rows, rising, whose caption holds none of the names, and whose class is called by none.

    Args:
        pairs: the clean split.
        names: each a word or several, found as whole words in whatever case.
        class_names: of the labels, where the pairs have any.
    """
    words = [whole_word(name) for name in names]
    folded = {name.casefold() for name in names}
    captions = pairs.captions(np.arange(pairs.num_rows))
    left = np.array([not any(word.search(caption) for word in words) for caption in captions], bool)
    if pairs.labels is not None:
        own = [index for index, name in enumerate(class_names) if name.casefold() in folded]
        left &= ~np.isin(pairs.labels, own)
    return np.flatnonzero(left).astype(np.int64)


def drawn(rows: np.ndarray, count: int | None, *, seed: int) -> np.ndarray:
    """(n,) int64 `count` of the rows at random, rising; a smaller draw is part of every larger one. None: all."""
    if count is None:
        return rows
    rng = np.random.Generator(np.random.PCG64(derive_seed(seed, "rebound rows")))
    return np.sort(rng.permutation(rows)[:count])
