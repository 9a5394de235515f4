"""`data` and `poison`: prepared pairs, an attack's hold on them, and the pools that models are trained on."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from benchmark.contexts.poison import GatedPoisonContext
from benchmark.data.pools import CachedPool, PoisonedPool, StreamedPool, TrainingPool, open_pool
from benchmark.data.prepare import prepare_data, prepare_outside
from benchmark.data.splits import is_streamed
from benchmark.stages.cells import Cell, trained_split
from benchmark.stages.common import Stopwatch, Tick, required
from benchmark.stages.outside import asks_outside
from benchmark.stages.work.poison import load_poison, poison
from benchmark.stages.work.weights import load_pretrained
from benchmark.store.artifacts import Store


def prepare_stage(store: Store, cell: Cell, evaluation: bool, *, tick: Tick) -> None:
    """Prepares the pairs of a cell, or the separate set that it is evaluated on."""
    experiment, keys = cell.experiment, cell.keys
    dataset, key = (experiment.evaluation, keys.evaluation) if evaluation else (experiment.data, keys.data)
    assert dataset is not None
    held_out_only = evaluation or is_streamed(dataset)
    make = partial(prepare_data, dataset, held_out_only=held_out_only, judges_only=evaluation)
    _prepared(store, cell, key, make, tick)


def outside_stage(store: Store, cell: Cell, *, tick: Tick) -> None:
    """Prepares the pairs of a clean model from outside, which no model of the suite is trained or judged on."""
    assert cell.keys.outside_data is not None
    _prepared(store, cell, cell.keys.outside_data, partial(prepare_outside, cell.experiment.data), tick)


def _prepared(store: Store, cell: Cell, key: str, prepare: Callable[..., dict[str, Any]], tick: Tick) -> None:
    from benchmark.models.architectures import image_size

    draft, watch = store.draft("data", key), Stopwatch()
    facts = prepare(
        splits=cell.experiment.splits,
        image_size=image_size(cell.experiment.model.name),
        folder=draft.folder,
        progress=lambda done, total: tick(f"{done}/{total} rows", done / max(1, total)),
    )
    draft.commit(facts | {"wall_s": watch.seconds()})


def poison_stage(store: Store, cell: Cell, *, tick: Tick) -> None:
    """Poisons the pre-training pairs of a cell: a manifest and the trigger's tensors."""
    experiment, keys = cell.experiment, cell.keys
    assert experiment.attack is not None and keys.poison is not None
    data, evaluation = required(store, "data", keys.data), required(store, "data", keys.evaluation)
    outside = keys.outside if asks_outside(experiment.attack) else None
    draft, watch = store.draft("poison", keys.poison), Stopwatch()
    context = GatedPoisonContext(
        clean_pool(store, cell),
        class_names=evaluation.facts["class_names"],
        caption_templates=data.facts["caption_templates"] or evaluation.facts["caption_templates"],
        evaluation_templates=evaluation.facts["evaluation_templates"],
        seed=experiment.seed,
        make_surrogate=(lambda: load_pretrained(store, outside).eval()) if outside else None,
    )
    facts = poison(experiment.attack, context, folder=draft.folder, image_size=data.facts["image_size"])
    draft.commit(facts | {"wall_s": watch.seconds()})


def clean_pool(store: Store, cell: Cell) -> CachedPool | StreamedPool:
    """The pre-training pairs before any poison; of a model from outside, its own."""
    data = required(store, "data", cell.keys.data)
    return open_pool(cell.experiment.data, data.folder, data.facts, trained_split(cell))


def training_pool(store: Store, cell: Cell) -> TrainingPool:
    """The pairs that a cell's model is pre-trained on: the clean pool, under the cell's poison if it has one."""
    pool, attack, key = clean_pool(store, cell), cell.experiment.attack, cell.keys.poison
    if attack is None or key is None:
        return pool
    found = load_poison(required(store, "poison", key).folder)
    return PoisonedPool(pool, found.table, attack, found.trigger)
