"""What a cell's model is before any defense: its architecture and start, and how each objective of a grid trains."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, Field, model_validator

from benchmark.errors import must, unknown
from benchmark.types import Frozen, Training
from benchmark.validation import validated

SUITE = "suite:"  # begins a start that is the clean model of another suite
OUTSIDE_OBJECTIVE = "mmcl"  # what a clean model from outside is trained with, in every cell


def _start(value: str) -> str:
    if not re.fullmatch(r"suite:[a-z0-9][a-z0-9-]*|[0-9a-f]{32}", value):
        raise ValueError("the key of a pretrain artifact (32 hex digits), or suite:NAME of a registered suite")
    return value


Start = Annotated[str, AfterValidator(_start)]
# objective name -> fields of its training that are not as `pretrain` says
Trainings = dict[str, dict[str, Any]]
# objective name -> where its models start: at every seed, or by seed
Starts = dict[str, Start | dict[int, Start]]


class ModelSpec(Frozen):
    """A CLIP model through open_clip."""

    name: Annotated[str, Field(description="open_clip model name, or one of the tiny configurations")] = "tiny-resnet"
    pretrained: Annotated[str | None, Field(description="open_clip tag to start from")] = None
    weights: Annotated[str | None, Field(description="local safetensors file to start from")] = None
    start_from: Annotated[
        Start | None,
        Field(
            description="key of a pretrain artifact to start from, or suite:NAME, the clean model that a registered "
            "suite (`backstop list suites`) makes of the same architecture, objective and seed"
        ),
    ] = None

    @model_validator(mode="after")
    def _one_start(self) -> ModelSpec:
        if sum(map(bool, (self.pretrained, self.weights, self.start_from))) > 1:
            raise ValueError("given one start at most: pretrained, weights or start_from")
        return self


class OutsideSpec(Frozen):
    """A clean model from outside, where it differs from the cell's own: trained as the suite trains MMCL."""

    model: ModelSpec
    pretrain: Training


def check_by_objective(
    pretrain: Training, model: ModelSpec, trainings: Trainings, starts: Starts, objectives: set[str]
) -> None:
    """Refuses an objective that is not in the grid, a field that a training does not have, or a second start.

    Raises:
        UserError: the first of them.
    """
    known = objectives | {OUTSIDE_OBJECTIVE}  # which decides how a model from outside is trained, in the grid or not
    for place, mapping in (("pretrain_by_objective", trainings), ("start_by_objective", starts)):
        for name in mapping:
            if name not in known:
                raise unknown(f"objective in {place}:", name, known)
    for name in trainings:
        training_of(pretrain, trainings, name)
    if starts and (model.pretrained or model.weights):
        rule = "given without model.pretrained and model.weights"
        raise must("start_by_objective", rule, starts, "a model has one start: drop one of them")


def check_seeds(starts: Starts, seeds: tuple[int, ...]) -> None:
    """Refuses starts by seed that leave a seed of the suite out: its models would start fresh, unlike the others.

    Raises:
        UserError: the first of them.
    """
    for name, start in starts.items():
        left = [seed for seed in seeds if not isinstance(start, str) and seed not in start]
        if left:
            remedy = f"add start_by_objective.{name}.{left[0]}"
            raise must(f"start_by_objective.{name}", f"given for every seed of {list(seeds)}", start, remedy)


def training_of(pretrain: Training, trainings: Trainings, objective: str) -> Training:
    """How an objective is trained: as `pretrain`, with its own fields over it."""
    own: Mapping[str, Any] = trainings.get(objective, {})
    return validated(Training, dict(pretrain) | own, place=f"pretrain_by_objective.{objective}") if own else pretrain


def model_of(model: ModelSpec, starts: Starts, objective: str, seed: int) -> ModelSpec:
    """The model of an objective at a seed: the grid's, with the objective's own start where it has one."""
    start = starts.get(objective)
    if start is None:
        return model
    return model.model_copy(update={"start_from": start if isinstance(start, str) else start[seed]})


def written_by_objective(
    objective: str, model: ModelSpec, pretrain: Training, outside: OutsideSpec
) -> tuple[ModelSpec, Trainings, Starts]:
    """The model, trainings and starts of a grid in which an objective has these, and the model from outside its own."""
    starts = {objective: model.start_from, OUTSIDE_OBJECTIVE: outside.model.start_from}
    own, other = pretrain.model_dump(mode="json"), outside.pretrain.model_dump(mode="json")
    different = {name: value for name, value in other.items() if value != own[name]}
    return (
        model.model_copy(update={"start_from": None}),
        {OUTSIDE_OBJECTIVE: different} if different else {},
        {name: start for name, start in starts.items() if start},
    )
