"""The clean set that a repair holds: the clean split or a part of it, with poisoned pairs left in it if asked."""

from __future__ import annotations

import numpy as np

from benchmark.contexts.poison import GatedPoisonContext
from benchmark.data.pools import CachedPool, PoisonedPool
from benchmark.stages.cells import Cell
from benchmark.stages.common import required
from benchmark.stages.work.poison import load_poison, overlooked
from benchmark.store.artifacts import Store
from benchmark.store.keys import derive_seed
from benchmark.types import Attack, Repair


def clean_set(store: Store, cell: Cell, repair: Repair, pairs: CachedPool) -> CachedPool | PoisonedPool:
    """What a repair of a cell is handed as clean pairs.

    A smaller set is part of every larger one. Poisoned pairs are pairs of the set whose images and captions the attack
    changed as it changed the pre-training ones; a model that was not attacked has none.

    Args:
        store: where the poison is.
        cell: the cell.
        repair: says how many pairs, and how many of them are poisoned.
        pairs: the clean split.
    """
    held = _part(pairs, repair.num_clean_pairs, cell.experiment.splits.seed)
    attack, key = cell.experiment.attack, cell.keys.poison
    if not repair.num_poisons_left or key is None or not isinstance(attack, Attack):
        return held
    data, evaluation = (required(store, "data", name).facts for name in (cell.keys.data, cell.keys.evaluation))
    context = GatedPoisonContext(
        held,
        class_names=evaluation["class_names"],
        caption_templates=data["caption_templates"] or evaluation["caption_templates"],
        evaluation_templates=evaluation["evaluation_templates"],
        seed=derive_seed(cell.experiment.seed, "poisons left"),
    )
    trigger = load_poison(required(store, "poison", key).folder).trigger
    return PoisonedPool(held, overlooked(attack, context, repair.num_poisons_left), attack, trigger)


def _part(pairs: CachedPool, count: int | None, seed: int) -> CachedPool:
    if count is None or count == pairs.num_rows:
        return pairs
    rng = np.random.Generator(np.random.PCG64(derive_seed(seed, "clean pairs")))
    return pairs.part(np.sort(rng.permutation(pairs.num_rows)[:count]))
