"""`pretrain`: the suspect model of a cell – pre-trained, with a backdoor implanted, or trained again after a filter."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
from safetensors.torch import save_file

from benchmark.config.spec import Experiment
from benchmark.evaluation.evaluate import validation_loss
from benchmark.models.clip import ClipModel, build, save_delta
from benchmark.stages.cells import Cell
from benchmark.stages.common import Compute, Stopwatch, Tick, required
from benchmark.stages.environment import numerics
from benchmark.stages.work.method_inputs import held_out
from benchmark.stages.work.prepare import training_pool
from benchmark.stages.work.weights import load_pretrained
from benchmark.store.artifacts import Store
from benchmark.store.keys import derive_seed
from benchmark.training import checkpoint
from benchmark.training.loop import EpochEnd, LoopOptions, Trained, train
from benchmark.training.oom import retry_with_smaller_micro_batch
from benchmark.types import Filter


def pretrain_stage(store: Store, cell: Cell, compute: Compute, *, tick: Tick) -> None:
    """Pre-trains a cell's model in this process; continues from its last checkpoint."""
    watch = Stopwatch()
    trained = pretrain(store, cell, compute, tick=tick)
    write_pretrained(store, cell, trained, compute, wall_s=watch.seconds())


def pretrain(store: Store, cell: Cell, compute: Compute, *, tick: Tick) -> Trained:
    """The training itself; every worker of a group calls it."""
    experiment, keys = cell.experiment, cell.keys
    pool, seed = training_pool(store, cell), derive_seed(experiment.seed, "pretrain")

    def on_epoch(end: EpochEnd, _: ClipModel) -> None:
        tick(f"epoch {end.epoch}/{end.epochs}, loss {end.loss:.2f}", end.epoch / end.epochs)

    scratch = store.shared_scratch("pretrain", keys.pretrain)
    scratch.bring(checkpoint.FILE)
    options = LoopOptions(
        checkpoint_folder=scratch.folder,
        share_checkpoint=scratch.share,
        checkpoint_epochs=compute.checkpoint_epochs,
        prefetch=compute.prefetch,
        on_epoch=on_epoch,
        validation_loss=_validation_loss(store, cell),
    )
    rows = kept_rows(store, cell) if keys.pretrain == keys.retrained else None

    def run(micro_batch: int | None) -> Trained:
        model = start_model(store, experiment).to(compute.device)
        now = options._replace(micro_batch=micro_batch)
        return train(model, pool, experiment.objective, experiment.pretrain, seed=seed, options=now, rows=rows)

    return retry_with_smaller_micro_batch(
        run, batch_size=experiment.pretrain.batch_size, micro_batch=compute.micro_batch
    )


def _validation_loss(store: Store, cell: Cell) -> Callable[[ClipModel], float] | None:
    """Measures the contrastive loss on clean validation pairs of the set that the model is trained on."""
    if cell.experiment.pretrain.take == "last":
        return None
    # the pairs of a model from outside hold no validation split; what judges it does
    found = (required(store, "data", key) for key in (cell.keys.data, cell.keys.evaluation))
    data = next(item for item in found if "validation" in item.facts["splits"])
    return partial(validation_loss, held_out=held_out(data, "validation"))


def kept_rows(store: Store, cell: Cell) -> np.ndarray:
    """(n,) int64 rows that a filter leaves: all but its most suspicious share; among equals the lower rows go."""
    import pyarrow.parquet as pq

    from benchmark.metrics._scores import removed

    detector = cell.experiment.detector
    assert isinstance(detector, Filter) and cell.keys.detect is not None
    found = required(store, "detect", cell.keys.detect)
    scores = pq.read_table(found.path("scores.parquet"), columns=["id", "score"]).to_pandas()
    return np.sort(scores["id"].to_numpy(np.int64)[~removed(scores, detector.remove_rate)])


def start_model(store: Store, experiment: Experiment) -> ClipModel:
    """Fresh, published or local weights, or those of another artifact."""
    if experiment.model.start_from:
        return load_pretrained(store, experiment.model.start_from)
    return build(experiment.model, seed=derive_seed(experiment.seed, "init"))


def write_pretrained(store: Store, cell: Cell, trained: Trained, compute: Compute, *, wall_s: float) -> None:
    """Writes the artifact: weights, optimiser state, loss curve, what they belong to, on what."""
    draft = store.draft("pretrain", cell.keys.pretrain)
    save_delta(trained.model, draft.folder, base={})
    save_file(trained.optimizer, draft.path("optimizer.safetensors"))
    evaluation = required(store, "data", cell.keys.evaluation)
    facts = {
        "history": trained.history,
        "training": cell.experiment.pretrain.model_dump(mode="json"),
        "class_names": evaluation.facts["class_names"],
        "evaluation_templates": evaluation.facts["evaluation_templates"],
        "parents": {"data": cell.keys.data, "poison": cell.keys.poison, "start": cell.experiment.model.start_from},
        "wall_s": wall_s,
    }
    draft.commit(facts | numerics(compute))
    store.clear_scratch("pretrain", cell.keys.pretrain)
