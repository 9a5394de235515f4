"""The stages: pure functions from a specification and input artifacts to one artifact. No Ray in them.

Every stage has the form `stage(store, …, tick=…)`: it finds its inputs in the store by key, writes a draft and commits
it. A stage that finds its artifact there does nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow.parquet as pq
import torch
from safetensors.torch import load_file, save_file

from benchmark import graph
from benchmark.clip import ClipModel, build, load_delta, save_delta
from benchmark.context import Collapsed, Context, NotApplicable, Report, Resources, Stopwatch, weights_name
from benchmark.evaluate import Condition, HeldOut, evaluate
from benchmark.graph import Cell
from benchmark.identity import derive_seed
from benchmark.memory import with_smaller_batches
from benchmark.poisoning import load_poison, poison
from benchmark.pool import CachedPool, PoisonedPool, Pool, apply_trigger, open_pool, open_split
from benchmark.prepare import prepare_data
from benchmark.spec import Experiment
from benchmark.store import Artifact, Store
from benchmark.tasks import Tick
from benchmark.train import Diverged, EpochEnd, LoopOptions, Trained, train
from benchmark.types import Repair, Training


class Compute(NamedTuple):
    """Where a stage runs: nothing here changes results beyond rounding."""

    device: str = "cpu"
    micro_batch: int | None = None
    checkpoint_epochs: int = 1

    @property
    def prefetch(self) -> int:
        """Batches prepared ahead: a second thread pays only beside a GPU."""
        return 0 if self.device == "cpu" else 2

    @property
    def evaluation_batch(self) -> int:
        """Images encoded at once: what stays in a processor's cache, or fills a GPU."""
        return 128 if self.device == "cpu" else 512


def prepare_stage(store: Store, cell: Cell, evaluation: bool, *, tick: Tick) -> None:
    """Prepares the pairs of a cell, or the separate set that it is evaluated on."""
    from benchmark.architectures import image_size

    experiment = cell.experiment
    dataset, key = (experiment.evaluation, cell.keys.evaluation) if evaluation else (experiment.data, cell.keys.data)
    assert dataset is not None
    draft, watch = store.draft("data", key), Stopwatch()
    facts = prepare_data(
        dataset,
        experiment.splits,
        image_size=image_size(experiment.model.name),
        held_out_only=evaluation or bool(getattr(dataset, "streaming", False)),
        folder=draft.folder,
        progress=lambda done, total: tick(f"{done}/{total} rows", done / max(1, total)),
    )
    draft.commit(facts | {"wall_s": watch.seconds()})


def poison_stage(store: Store, cell: Cell, *, tick: Tick) -> None:
    """Poisons the pre-training pairs of a cell: a manifest and the trigger's tensors."""
    experiment, keys = cell.experiment, cell.keys
    assert experiment.attack is not None and keys.poison is not None
    data, evaluation = _input(store, "data", keys.data), _input(store, "data", keys.evaluation)
    draft, watch = store.draft("poison", keys.poison), Stopwatch()
    facts = poison(
        experiment.attack,
        open_pool(experiment.data, data.folder, data.facts, "pretrain"),
        class_names=evaluation.facts["class_names"],
        caption_templates=data.facts["caption_templates"] or evaluation.facts["caption_templates"],
        evaluation_templates=evaluation.facts["evaluation_templates"],
        seed=experiment.seed,
        folder=draft.folder,
        image_size=data.facts["image_size"],
    )
    draft.commit(facts | {"wall_s": watch.seconds()})


# --- pre-training ----------------------------------------------------------------------------------------------


def pretrain_stage(store: Store, cell: Cell, compute: Compute, *, tick: Tick) -> None:
    """Pre-trains a cell's model in this process; continues from its last checkpoint."""
    watch = Stopwatch()
    trained = pretrain(store, cell, compute, tick=tick)
    write_pretrained(store, cell, trained, wall_s=watch.seconds())


def pretrain(store: Store, cell: Cell, compute: Compute, *, tick: Tick) -> Trained:
    """The training itself; every worker of a group calls it."""
    experiment, keys = cell.experiment, cell.keys
    pool, seed = training_pool(store, cell), derive_seed(experiment.seed, "pretrain")

    def on_epoch(end: EpochEnd, _: ClipModel) -> None:
        tick(f"epoch {end.epoch}/{end.epochs}, loss {end.loss:.2f}", end.epoch / end.epochs)

    options = LoopOptions(
        checkpoint_folder=store.scratch("pretrain", keys.pretrain),
        checkpoint_epochs=compute.checkpoint_epochs,
        prefetch=compute.prefetch,
        on_epoch=on_epoch,
    )

    def run(micro_batch: int | None) -> Trained:
        model = start_model(store, experiment).to(compute.device)
        now = options._replace(micro_batch=micro_batch)
        return train(model, pool, experiment.objective, experiment.pretrain, seed=seed, options=now)

    return with_smaller_batches(run, batch_size=experiment.pretrain.batch_size, micro_batch=compute.micro_batch)


def start_model(store: Store, experiment: Experiment) -> ClipModel:
    """Fresh, published or local weights, or those of another artifact."""
    if experiment.model.start_from:
        return load_pretrained(store, experiment.model.start_from)
    return build(experiment.model, seed=derive_seed(experiment.seed, "init"))


def training_pool(store: Store, cell: Cell) -> Pool:
    """The pairs that a cell's model is pre-trained on: the clean pool, under the cell's poison if it has one."""
    experiment, keys = cell.experiment, cell.keys
    data = _input(store, "data", keys.data)
    pool = open_pool(experiment.data, data.folder, data.facts, "pretrain")
    if experiment.attack is None or keys.poison is None:
        return pool
    found = load_poison(_input(store, "poison", keys.poison).folder)
    return PoisonedPool(pool, found.table, experiment.attack, found.trigger)


def write_pretrained(store: Store, cell: Cell, trained: Trained, *, wall_s: float) -> None:
    """Writes the artifact: weights, optimiser state, loss curve, and which set and templates they belong to."""
    draft = store.draft("pretrain", cell.keys.pretrain)
    save_delta(trained.model, draft.folder, base={})
    save_file(trained.optimizer, draft.path("optimizer.safetensors"))
    evaluation = _input(store, "data", cell.keys.evaluation)
    facts = {
        "history": trained.history,
        "training": cell.experiment.pretrain.model_dump(mode="json"),
        "class_names": evaluation.facts["class_names"],
        "evaluation_templates": evaluation.facts["evaluation_templates"],
        "parents": {"data": cell.keys.data, "poison": cell.keys.poison},
        "wall_s": wall_s,
    }
    draft.commit(facts)
    store.clear_scratch("pretrain", cell.keys.pretrain)


def load_pretrained(store: Store, key: str) -> ClipModel:
    """The model of a pretrain artifact."""
    return load_delta(_input(store, "pretrain", key).folder, find=lambda base: _input(store, "pretrain", base).folder)


# --- repair ----------------------------------------------------------------------------------------------------


class DefendInputs(NamedTuple):
    """What a repair run is told beside its fields: functions of its input artifacts."""

    start_accuracy: float | None  # validation CA of the undefended model; None: no collapse stopping
    keep: Callable[[Sequence[Mapping[str, Any]]], set[int]]  # epochs whose weights are kept


def defend_stage(
    store: Store, cell: Cell, repair: Repair, inputs: DefendInputs, compute: Compute, *, tick: Tick
) -> dict[str, Any]:
    """Runs one repair with given fields; returns the artifact's facts."""
    key = graph.defend_key(cell, repair)
    found = store.find("defend", key)
    if found is not None:
        return found.facts
    draft, watch = store.draft("defend", key), Stopwatch()
    model = load_pretrained(store, cell.keys.pretrain).to(compute.device)
    context = _context(store, cell, repair, inputs, compute, draft.folder, model, tick)
    status, reason = "ok", ""
    try:
        repaired = repair.repair(model, context)
        if not context.rows:  # a repair that never trained: its result is measured once
            context.report(1, repaired)
    except Collapsed as error:
        status, reason = "collapsed", str(error)
    except Diverged as error:
        status, reason = "failed", str(error)
    context.write_epochs()
    last = context.rows[-1] if context.rows else {}
    facts = {
        "status": status,
        "reason": reason,
        "accuracy": last.get("validation_accuracy"),
        "asr": last.get("validation_asr"),
        "epochs": len(context.rows),
        "parameters": repair.model_dump(mode="json"),
        "clean_pairs": context.clean_pairs_used,
        "wall_s": watch.seconds(),
    }
    return draft.commit(facts).facts


def _context(
    store: Store,
    cell: Cell,
    repair: Repair,
    inputs: DefendInputs,
    compute: Compute,
    folder: Any,
    model: ClipModel,
    tick: Tick,
) -> Context:
    experiment, keys = cell.experiment, cell.keys
    data, evaluation = _input(store, "data", keys.data), _input(store, "data", keys.evaluation)
    pretrained = _input(store, "pretrain", keys.pretrain)

    def optimizer_state() -> tuple[dict[str, torch.Tensor], Training]:
        training = Training.model_validate(pretrained.facts["training"])
        return load_file(pretrained.path("optimizer.safetensors")), training

    conditions = tuple(condition_of(store, item, evaluation) for item in graph.own_conditions(cell))
    resources = Resources(
        clean_pairs=open_split(data.folder, data.facts, "clean"),
        class_names=tuple(evaluation.facts["class_names"]),
        templates=tuple(evaluation.facts["evaluation_templates"]),
        reference=model,
        optimizer_state=optimizer_state,
        suspect_pairs=lambda: training_pool(store, cell),
        trigger=conditions[1] if len(conditions) > 1 else None,
    )
    report = Report(
        validation=held_out(evaluation, "validation"),
        conditions=conditions,
        keep=inputs.keep,
        start_accuracy=inputs.start_accuracy,
        collapse=experiment.search.collapse if experiment.search else 0.0,
        folder=folder,
        base_key=keys.pretrain,
        progress=lambda end: tick(f"epoch {end.epoch}/{end.epochs}, loss {end.loss:.2f}", end.epoch / end.epochs),
    )
    options = LoopOptions(micro_batch=compute.micro_batch, prefetch=compute.prefetch)
    return Context(repair.card, resources, report, seed=derive_seed(experiment.seed, "defend"), options=options)


def load_repaired(store: Store, key: str, epoch: int) -> ClipModel:
    """The model that a defend artifact kept after an epoch."""
    folder = _input(store, "defend", key).folder
    return load_delta(folder, name=weights_name(epoch), find=lambda base: _input(store, "pretrain", base).folder)


def epochs_of(store: Store, key: str) -> list[dict[str, Any]]:
    """The measured epochs of a defend artifact."""
    return pq.read_table(_input(store, "defend", key).path("epochs.parquet")).to_pylist()


# --- evaluation ------------------------------------------------------------------------------------------------


class ModelRef(NamedTuple):
    """Which weights: a pretrain artifact, or an epoch of a defend artifact."""

    stage: str
    key: str
    epoch: int | None = None


def evaluate_stage(
    store: Store,
    cell: Cell,
    ref: ModelRef,
    conditions: Sequence[graph.Condition],
    split: str,
    compute: Compute,
    *,
    tick: Tick,
) -> None:
    """Evaluates one model under several conditions; writes one artifact per condition that is not there yet."""

    def key(item: graph.Condition) -> str:
        return graph.evaluate_key(cell, item, split=split, model=ref.key, epoch=ref.epoch)

    missing = [item for item in conditions if not store.has("evaluate", key(item))]
    if not missing:
        return
    tick(f"{len(missing)} condition{'s' * (len(missing) > 1)}", 0.1)
    data, evaluation = _input(store, "data", cell.keys.data), _input(store, "data", cell.keys.evaluation)
    if not evaluation.facts["class_names"]:
        raise NotApplicable("zero-shot evaluation needs class names; give the suite an `evaluation` set with labels")
    model = (
        load_pretrained(store, ref.key) if ref.stage == "pretrain" else load_repaired(store, ref.key, ref.epoch or 0)
    )
    watch = Stopwatch()
    found = evaluate(
        model.to(compute.device),
        held_out(evaluation, split),
        [condition_of(store, item, evaluation) for item in missing],
        class_names=evaluation.facts["class_names"],
        templates=evaluation.facts["evaluation_templates"],
        readouts=cell.experiment.readouts,
        clean=held_out(data, "clean"),
        target=None,
        batch_size=compute.evaluation_batch,
    )
    seconds = {"wall_s": watch.seconds(), "encode_s": found.encode_s, "probe_fit_s": found.probe_fit_s}
    for item, table in zip(missing, found.outcomes.values(), strict=True):
        draft = store.draft("evaluate", key(item))
        pq.write_table(table, draft.path("outcomes.parquet"))
        target = condition_of(store, item, evaluation).target
        draft.commit({"target": target, "condition": item.attack.label if item.attack else "clean", **seconds})


def held_out(data: Artifact, split: str) -> HeldOut:
    """A cached split with its labels, captions and sample ids."""
    pool = open_split(data.folder, data.facts, split)
    assert isinstance(pool, CachedPool)
    rows = np.arange(pool.num_rows, dtype=np.int64)
    batch = pool.take(rows)
    labels = np.full(len(rows), -1, np.int64) if pool.labels is None else pool.labels
    # ids of the splits differ, so that a fresh trigger is not the one of a training row of the same number
    ids = rows + (1 + ("pretrain", "clean", "validation", "test").index(split)) * 1_000_000_000
    return HeldOut(batch.images, labels, batch.captions, ids)


def condition_of(store: Store, item: graph.Condition, evaluation: Artifact) -> Condition:
    """Turns a condition's specification into one that can be applied."""
    from benchmark.poisoning import target_index

    target = None if item.target is None else target_index(item.target, evaluation.facts["class_names"])
    if item.attack is None or item.poison is None:
        return Condition("clean", target)
    attack, state = item.attack, load_poison(_input(store, "poison", item.poison).folder).trigger
    return Condition(attack.label, target, lambda images, ids: apply_trigger(attack, state, images, ids))


def _input(store: Store, stage: str, key: str) -> Artifact:
    found = store.find(stage, key)
    if found is None:
        raise LookupError(f"{stage}/{key} is not in store {store.root}; run the suite again")
    return found
