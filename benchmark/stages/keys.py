"""Content keys of what experiments share: data, poison, models. Pure; needs neither Ray nor open_clip."""

from __future__ import annotations

from typing import Any

from benchmark.config.protocol import Splits
from benchmark.config.spec import Experiment, ModelSpec
from benchmark.stages.identities import identity, model_identity, training_identity, without_paths
from benchmark.stages.once import Once
from benchmark.store.keys import content_key
from benchmark.types import BaseAttack, Dataset, Objective, Training

# Raised when a stage's code changes what it computes.
STAGE_VERSIONS = {
    "data": 1,
    "poison": 1,
    "pretrain": 1,
    "embed": 1,
    "squash": 1,
    "defend": 1,
    "detect": 1,
    "evaluate": 2,
    "record": 4,
}


def stage_key(stage: str, spec: Any, inputs: list[str]) -> str:
    """Content key under the stage's current version."""
    return content_key(stage, STAGE_VERSIONS[stage], spec, inputs)


def data_key(experiment: Experiment, dataset: Dataset, once: Once, *, outside: bool = False) -> str:
    """Key of a prepared data set, or of the pairs of a model from outside.

    How many of those there are is part of the former only where it decides what is left for pre-training.
    """
    return once(_data_key, dataset, experiment.splits, experiment.model.name, outside, once)


def _data_key(dataset: Dataset, splits: Splits, model: str, outside: bool, once: Once) -> str:
    from benchmark.models.architectures import image_size

    apart = {"outside"} if splits.pretrain is not None and not outside else None
    part = {"part": "outside"} if outside else {}
    sizes = splits.model_dump(mode="json", exclude_defaults=True, exclude=apart)
    return stage_key("data", once(_dataset, dataset) | part | {"splits": sizes, "image_size": image_size(model)}, [])


def _dataset(dataset: Dataset) -> dict[str, Any]:
    return {"dataset": without_paths(identity(dataset)), "revision": dataset.revision()}


def poison_key(experiment: Experiment, data: str, outside: str | None, once: Once) -> str | None:
    """Key of a poison manifest and its trigger; None without an attack."""
    if experiment.attack is None:
        return None
    return once(_poison_key, experiment.attack, experiment.seed, experiment.threads, data, outside)


def _poison_key(attack: BaseAttack, seed: int, threads: int | None, data: str, outside: str | None) -> str:
    inputs = [data, outside] if outside else [data]
    return stage_key("poison", {"attack": identity(attack), "seed": seed} | _threads(threads), inputs)


def pretrain_key(experiment: Experiment, pairs: str, once: Once) -> str:
    """Key of a pre-trained model; `pairs` is the key of the poison, or of the data."""
    item = experiment
    return once(_pretrain_key, item.model, item.objective, item.pretrain, item.seed, item.threads, pairs)


def _pretrain_key(
    model: ModelSpec, objective: Objective, training: Training, seed: int, threads: int | None, pairs: str
) -> str:
    spec = {
        "model": model_identity(model),
        "objective": identity(objective),
        "training": training_identity(training),
        "seed": seed,
    }
    return stage_key("pretrain", spec | _threads(threads), [pairs])


def _threads(threads: int | None) -> dict[str, int]:
    """The number of threads where the suite gives one: it stands in the keys of all that torch is the first to make."""
    # repairs, scores and outcomes are made of these, and have it through them
    return {"threads": threads} if threads else {}
