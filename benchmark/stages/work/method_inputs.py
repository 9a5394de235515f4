"""What methods are handed for a cell: resources by key, opened when a method asks for them."""

from __future__ import annotations

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from benchmark.contexts.defense import MethodInputs, pair_features
from benchmark.data.pools import CachedPool, apply_trigger, as_images, open_split
from benchmark.data.squash import squash_split
from benchmark.errors import NotApplicable
from benchmark.evaluation.evaluate import Condition, HeldOut
from benchmark.models.clip import ClipModel
from benchmark.stages.cells import Cell
from benchmark.stages.common import required
from benchmark.stages.evaluations import ConditionSpec, own_conditions
from benchmark.stages.keys import stage_key
from benchmark.stages.work.clean_set import clean_set
from benchmark.stages.work.poison import Poison, load_poison
from benchmark.stages.work.prepare import clean_pool, training_pool
from benchmark.stages.work.weights import load_pretrained, optimizer_of
from benchmark.store.artifact import Artifact
from benchmark.store.artifacts import Store
from benchmark.text import target_index
from benchmark.types import PairFeatures, Repair, Training

SPLITS = ("pretrain", "clean", "validation", "test")


def method_inputs(
    store: Store, cell: Cell, model: ClipModel, *, key: str, repair: Repair | None = None
) -> MethodInputs:
    """Everything there is for the methods of a cell.

    Args:
        store: where the artifacts are.
        cell: the cell.
        model: the model that methods start from.
        key: of its pretrain artifact.
        repair: which clean pairs it holds; None: all.
    """
    data, evaluation = required(store, "data", cell.keys.data), required(store, "data", cell.keys.evaluation)
    pairs = open_split(data.folder, data.facts, "clean")
    pretrained = required(store, "pretrain", key)

    def optimizer_state() -> tuple[dict[str, torch.Tensor], Training]:
        found = optimizer_of(store, key)
        if found is None:
            raise NotApplicable("the model came without the optimiser state of its training")
        return found, Training.model_validate(pretrained.facts["training"])

    conditions = conditions_of(store, cell, evaluation)
    return MethodInputs(
        model=model,
        clean_pairs=clean_set(store, cell, repair, pairs) if repair else pairs,
        class_names=tuple(evaluation.facts["class_names"]),
        templates=tuple(evaluation.facts["evaluation_templates"]),
        optimizer_state=optimizer_state,
        suspect_pairs=lambda: training_pool(store, cell),
        training_pairs=lambda: clean_pool(store, cell),
        suspect_features=lambda: embedded(store, cell, key, device=model.device),
        trigger=conditions[1] if len(conditions) > 1 else None,
        auxiliary_model=lambda: load_pretrained(store, cell.keys.outside or "").eval().to(model.device),
    )


def embedded(store: Store, cell: Cell, model_key: str, *, device: torch.device) -> PairFeatures:
    """A stored model's embeddings of the pairs that the suspect was trained on, not normalised; made once for a store.

    The weights are read anew: a method may have changed those that it was given, and others read what is kept here.
    """
    key = stage_key("embed", {}, [model_key, cell.keys.poison or cell.keys.data])
    found = store.find("embed", key, whole=True)
    if found is None:
        features = pair_features(load_pretrained(store, model_key).to(device), training_pool(store, cell))
        draft = store.draft("embed", key)
        save_file(dict(features._asdict()), draft.path("features.safetensors"))
        found = draft.commit({"num_rows": len(features.image)})
    return PairFeatures(**load_file(found.path("features.safetensors")))


def squashed(store: Store, cell: Cell, evaluation: Artifact) -> HeldOut:
    """The test split with its images squashed instead of cropped; made once for a store.

    Raises:
        UserError: a row of the split is no longer there.
    """
    key = stage_key("squash", {}, [cell.keys.evaluation])
    found = store.find("squash", key, whole=True)
    if found is None:
        dataset = cell.experiment.evaluation or cell.experiment.data
        draft = store.draft("squash", key)
        squash_split(
            dataset, evaluation.folder, "test", image_size=evaluation.facts["image_size"], file=draft.path("images.npy")
        )
        found = draft.commit({"split": "test"})
    images = np.load(found.path("images.npy"), mmap_mode="c")  # never written to; torch warns of read-only arrays
    return held_out(evaluation, "test", images=as_images(images))


def held_out(data: Artifact, split: str, *, images: torch.Tensor | None = None) -> HeldOut:
    """A cached split with its labels, captions and sample ids; `images` take the place of its own."""
    pool = open_split(data.folder, data.facts, split)
    return _held_out(pool, np.arange(pool.num_rows, dtype=np.int64), split, images)


def _held_out(pool: CachedPool, rows: np.ndarray, split: str, images: torch.Tensor | None = None) -> HeldOut:
    shown = pool.take(rows).images if images is None else images
    labels = np.full(len(rows), -1, np.int64) if pool.labels is None else pool.labels[rows]
    # ids of the splits differ, so that a fresh trigger is not the one of a training row of the same number
    ids = rows + (1 + SPLITS.index(split)) * 1_000_000_000
    return HeldOut(shown, labels, pool.captions(rows), ids)


def conditions_of(store: Store, cell: Cell, evaluation: Artifact) -> tuple[Condition, ...]:
    """Clean, and the cell's own attack, ready to be applied to the model as it is; no control."""
    own = [item for item in own_conditions(cell) if item.transform is None and item.geometry is None]
    return tuple(condition_of(store, cell, item, evaluation) for item in own)


def condition_of(store: Store, cell: Cell, item: ConditionSpec, evaluation: Artifact) -> Condition:
    """Turns a condition's specification into one that can be applied; the model's transform is not part of it."""
    target = None if item.target is None else target_index(item.target, evaluation.facts["class_names"])
    if item.geometry == "squash":
        return Condition("squash", target, shown=squashed(store, cell, evaluation))
    if item.attack is None or item.poison is None:
        return Condition("clean", target)
    attack, found = item.attack, load_poison(required(store, "poison", item.poison).folder)
    if found.victims is not None:
        return _victims(store, cell, found, attack.label)
    return Condition(attack.label, target, lambda images, ids: apply_trigger(attack, found.trigger, images, ids))


def _victims(store: Store, cell: Cell, found: Poison, name: str) -> Condition:
    """The images that a targeted attack is about, each with the class that it is to be taken for."""
    assert found.victims is not None
    pool = clean_pool(store, cell)
    if not isinstance(pool, CachedPool) or pool.labels is None:
        raise NotApplicable("an attack on chosen images is evaluated on labelled pairs that are cached")
    return Condition(name, shown=_held_out(pool, found.victims.rows, "pretrain"), targets=found.victims.targets)
