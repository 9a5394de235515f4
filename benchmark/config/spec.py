"""Specifications: a suite is a grid of experiments plus the protocol; an experiment is one cell in full.

Frozen, unknown keys refused. Everything here may change results and enters content keys; what may not (workers,
devices, paths) is in `compute_options`.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from math import prod
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field, PlainSerializer, field_validator, model_validator

from benchmark.config import registry
from benchmark.config.pretraining import (
    OUTSIDE_OBJECTIVE,
    ModelSpec,
    OutsideSpec,
    Starts,
    Trainings,
    check_by_objective,
    check_seeds,
    model_of,
    training_of,
    written_by_objective,
)
from benchmark.config.protocol import Gate, Readouts, Search, Splits
from benchmark.config.rebound import Rebound
from benchmark.errors import must
from benchmark.types import (
    BaseAttack,
    Choices,
    Dataset,
    Detector,
    Filter,
    Frozen,
    Method,
    Metric,
    Objective,
    Range,
    Repair,
    Training,
    Transform,
)
from benchmark.validation import validated

# On paper a method is what `Method.to_dict` writes; it may be given as NAME:FIELD=VALUE,… too.
_written = PlainSerializer(Method.to_dict)
DatasetForm = Annotated[Dataset, BeforeValidator(partial(registry.read, "dataset")), _written]
ObjectiveForm = Annotated[Objective, BeforeValidator(partial(registry.read, "objective")), _written]
AttackForm = Annotated[BaseAttack, BeforeValidator(partial(registry.read, "attack")), _written]
RepairForm = Annotated[Repair, BeforeValidator(partial(registry.read, "repair")), _written]
MetricForm = Annotated[Metric, BeforeValidator(partial(registry.read, "metric")), _written]
DetectorForm = Annotated[Detector, BeforeValidator(partial(registry.read, "detector")), _written]
Threads = Annotated[int, Field(ge=1, le=1024)]  # of one process; many more end it before it says why
Names = Annotated[frozenset[str], PlainSerializer(sorted, when_used="json")]  # in one order, so that equal is equal


def _several(value: object) -> object:
    """One method's text stands for a list of one."""
    # else pydantic would take the text apart, letter by letter
    return (value,) if isinstance(value, str) else value


class Spec(Frozen):
    """What is written as JSON and read again."""

    def to_dict(self) -> dict[str, Any]:
        """It on paper, as JSON: every field in full, methods as `Method.to_dict` writes them."""
        return self.model_dump(mode="json")

    @classmethod
    def from_dict(cls, written: Mapping[str, Any], *, place: str = "specification") -> Self:
        """Rebuilds what `to_dict` wrote; fields that are left out get their defaults.

        Raises:
            UserError: an unknown field or method, another version or source of a method, or a bad value.
        """
        return validated(cls, written, place=place)


class Experiment(Spec):
    """One cell: everything that may change its content. Attack and repair of None are the controls.

    A cell has a repair, or a detector, or neither.
    """

    data: DatasetForm
    evaluation: DatasetForm | None = None  # None: validation and test come from `data`
    splits: Splits = Splits()
    model: ModelSpec = ModelSpec()
    objective: ObjectiveForm
    pretrain: Training = Training()
    outside: OutsideSpec | None = None  # of a clean model from outside; None: model and pre-training of the cell
    attack: AttackForm | None = None
    repair: RepairForm | None = None
    detector: DetectorForm | None = None
    search: Search | None = None  # None: the repair runs once, as given
    space: dict[str, Range | Choices] = {}  # overrides the repair's own ranges
    readouts: Readouts = Readouts()
    transforms: tuple[Transform, ...] = ()  # of the model; it is evaluated as it is, and under each of them
    gate: Gate = Gate()
    threads: Threads | None = None  # of torch in each process; None: as the machine gives, and in no key
    seed: int = 0

    def suite(self, name: str, title: str = "") -> Suite:
        """The smallest suite that holds this cell: the cell, and the cells that it is compared with."""
        repair = self.repair.name if self.repair else ""
        model, trainings, starts = self.model, {}, {}
        if self.outside:
            model, trainings, starts = written_by_objective(
                self.objective.name, self.model, self.pretrain, self.outside
            )
        return Suite(
            name=name,
            title=title,
            data=self.data,
            evaluation=self.evaluation,
            splits=self.splits,
            model=model,
            pretrain=self.pretrain,
            pretrain_by_objective=trainings,
            start_by_objective=starts,
            objectives=(self.objective,),
            attacks=(self.attack,) if self.attack else (),
            repairs=(self.repair,) if self.repair else (),
            detectors=(self.detector,) if self.detector else (),
            searched=frozenset({repair} if self.search else ()),
            search=self.search or Search(),
            spaces={repair: self.space} if self.space else {},
            gate=self.gate,
            readouts=self.readouts,
            transforms=self.transforms,
            threads=self.threads,
            seeds=(self.seed,),
        )


class Grid(Spec):
    """Models and what is done to them: objectives x attacks x (repairs and detectors) of one architecture."""

    model: ModelSpec = ModelSpec()
    pretrain: Training = Training()
    pretrain_by_objective: Annotated[
        Trainings, Field(description="objective -> fields of its training that are not as in pretrain: matched starts")
    ] = {}
    start_by_objective: Annotated[
        Starts, Field(description="objective -> model.start_from of its models, for all seeds or by seed")
    ] = {}
    objectives: Annotated[tuple[ObjectiveForm, ...], BeforeValidator(_several)]
    attacks: Annotated[tuple[AttackForm, ...], BeforeValidator(_several)]  # the clean twin is always added
    repairs: Annotated[tuple[RepairForm, ...], BeforeValidator(_several)] = ()  # "no repair" is always added
    detectors: Annotated[tuple[DetectorForm, ...], BeforeValidator(_several)] = ()
    # names of the objectives and attacks whose models are repaired and inspected too; None: all
    defended_objectives: Names | None = None
    defended_attacks: Names | None = None
    searched: Names = frozenset()  # names of repairs that are searched on attacked models

    @model_validator(mode="after")
    def _by_objective(self) -> Self:
        names = {objective.name for objective in self.objectives}
        check_by_objective(self.pretrain, self.model, self.pretrain_by_objective, self.start_by_objective, names)
        return self

    @property
    def trainings(self) -> dict[str, Training]:
        """How the models of each objective are pre-trained."""
        names = [objective.name for objective in self.objectives]
        return {name: training_of(self.pretrain, self.pretrain_by_objective, name) for name in names}

    def combinations(self) -> list[tuple[Objective, BaseAttack | None, Repair | Detector | None]]:
        """Objective, attack (clean twin first), defense (none first), in board order."""
        return [
            (objective, attack, defense)
            for objective in self.objectives
            for attack in (None, *self.attacks)
            for defense in (None, *self._defenses(objective, attack))
        ]

    def _defenses(self, objective: Objective, attack: BaseAttack | None) -> list[Repair | Detector]:
        """Repairs and detectors of one model. Filters that only score have nothing to find among clean pairs."""
        if self.defended_objectives is not None and objective.name not in self.defended_objectives:
            return []
        if attack is not None and self.defended_attacks is not None and attack.name not in self.defended_attacks:
            return []
        # one that trains again is run there too: what it costs a model whose pairs were clean is its price
        scoring = [] if attack else [item for item in self.detectors if isinstance(item, Filter) and not item.retrain]
        return [*self.repairs, *(item for item in self.detectors if item not in scoring)]


class Suite(Grid):
    """A named grid plus its protocol. `experiments()` spells it out."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$")]
    title: str = ""
    data: DatasetForm
    evaluation: DatasetForm | None = None
    splits: Splits = Splits()
    search: Search = Search()
    spaces: dict[str, dict[str, Range | Choices]] = {}  # repair name -> field -> range
    gate: Gate = Gate()
    readouts: Readouts = Readouts()
    transforms: Annotated[
        tuple[Transform, ...], Field(description="of the model, under which it is evaluated too: int8, bf16, prune10")
    ] = ()
    threads: Annotated[
        Threads | None,
        Field(description="of torch in each process, since rounding follows them; null: as the machine gives"),
    ] = None
    seeds: Annotated[tuple[Annotated[int, Field(ge=0, lt=2**63)], ...], Field(min_length=1)] = (0,)
    metrics: Annotated[
        tuple[MetricForm, ...], Field(description="beside those of every record; applied to finished cells too")
    ] = ()
    # left out on paper where nobody asks, so that documents of before stay what they were
    rebound: Annotated[
        Rebound | None,
        Field(exclude_if=lambda value: value is None, description="benign fine-tuning of repaired models; null: none"),
    ] = None
    also: Annotated[
        tuple[Grid, ...], Field(description="further grids on the same data and protocol: other models, other attacks")
    ] = ()

    @field_validator("seeds")
    @classmethod
    def _distinct(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(value)) < len(value):
            raise ValueError("distinct: equal seeds give equal cells")
        return value

    @model_validator(mode="after")
    def _starts_of_all_seeds(self) -> Suite:
        for grid in self.grids:
            check_seeds(grid.start_by_objective, self.seeds)
        return self

    @model_validator(mode="after")
    def _rebound_fits(self) -> Suite:
        clean = self.splits.clean
        for field in ("batch_size", "rows"):
            asked = getattr(self.rebound, field, None)
            if asked and asked > clean:
                raise must(f"rebound.{field}", f"at most splits.clean {clean}", asked, "lower it, or raise that")
        return self

    @property
    def grids(self) -> tuple[Grid, ...]:
        """The suite's own grid, then the further ones."""
        return (self, *self.also)

    def methods(self, kind: str) -> list[Method]:
        """Every "objective", "attack", "repair" or "detector" of any grid, each once."""
        found = [item for grid in self.grids for item in getattr(grid, f"{kind}s")]
        return list({item.label: item for item in found}.values())

    def experiments(self) -> list[Experiment]:
        """Every cell, once, in board order: seed, grid, objective, attack, repair, detector."""
        found: dict[tuple[Any, ...], Experiment] = {}
        for seed in self.seeds:
            for grid in self.grids:
                for parts in grid.combinations():
                    experiment = self._experiment(grid, *parts, seed)
                    # grids may overlap; searched and unsearched are two cells, since they keep other weights
                    labels = [part and part.label for part in parts]
                    place = (seed, experiment.model, experiment.pretrain, *labels, experiment.search is None)
                    found.setdefault(place, experiment)
        return list(found.values())

    def _experiment(
        self,
        grid: Grid,
        objective: Objective,
        attack: BaseAttack | None,
        defense: Repair | Detector | None,
        seed: int,
    ) -> Experiment:
        # a clean twin has no ASR to search by: its repairs run once, at their defaults
        repair = defense if isinstance(defense, Repair) else None
        searched = repair is not None and attack is not None and repair.name in grid.searched
        space = self.spaces.get(repair.name, {}) if searched and repair else {}
        model, pretrain = _pretraining(grid, objective.name, seed)
        # what an outsider trains depends on the suite and not on the cell: all cells under an attack share its poison
        outside = _pretraining(grid, OUTSIDE_OBJECTIVE, seed)
        return Experiment(
            data=self.data,
            evaluation=self.evaluation,
            splits=self.splits,
            model=model,
            objective=objective,
            pretrain=pretrain,
            outside=None if outside == (model, pretrain) else OutsideSpec(model=outside[0], pretrain=outside[1]),
            attack=attack,
            repair=repair,
            detector=defense if isinstance(defense, Detector) else None,
            search=_bounded(self.search, space) if searched else None,
            space=space,
            readouts=self.readouts,
            transforms=self.transforms,
            gate=self.gate,
            threads=self.threads,
            seed=seed,
        )


def _bounded(search: Search, space: Mapping[str, Range | Choices]) -> Search:
    """The search of one repair: a grid has no more trials than combinations."""
    if not search.grid:
        return search
    combinations = prod(len(mark.options) for mark in space.values() if isinstance(mark, Choices))
    return search.model_copy(update={"trials": min(search.trials, combinations)})


def _pretraining(grid: Grid, objective: str, seed: int) -> tuple[ModelSpec, Training]:
    """Model and training of an objective's models."""
    model = model_of(grid.model, grid.start_by_objective, objective, seed)
    return model, training_of(grid.pretrain, grid.pretrain_by_objective, objective)
