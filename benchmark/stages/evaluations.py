"""What a cell's models are evaluated under, and which evaluations its numbers, gate and search are made of."""

from __future__ import annotations

from typing import Literal, NamedTuple

from benchmark.stages.cells import Cell
from benchmark.stages.identities import identity
from benchmark.stages.keys import stage_key
from benchmark.types import BaseAttack, Transform

REPAIRED_TWIN = "repaired_twin_triggered"


class ConditionSpec(NamedTuple):
    """What a model is evaluated under, as a specification."""

    attack: BaseAttack | None  # None: clean
    poison: str | None  # key of the poison artifact that holds the trigger
    target: str | None  # class that target ranks refer to
    transform: Transform | None = None  # of the model, before it is evaluated
    geometry: Literal["squash"] | None = None  # of the images: squashed to the model's size; None: cropped

    @property
    def name(self) -> str:
        """Short text: the attack's name, squash, or clean, and the transform."""
        shown = self.attack.name if self.attack else self.geometry or "clean"
        return shown + (f" {self.transform}" if self.transform else "")

    @property
    def shown(self) -> str:
        """What the images are: clean, triggered or squashed."""
        return self.geometry or ("triggered" if self.attack else "clean")


CLEAN = ConditionSpec(None, None, None)


class ModelRef(NamedTuple):
    """Which weights: a pretrain artifact, or an epoch of a defend artifact."""

    stage: str
    key: str
    epoch: int | None = None


class Evaluation(NamedTuple):
    """One model under one condition on one split."""

    role: str  # what its outcomes are to a record, see `schemas.SOURCE`
    model: ModelRef
    condition: ConditionSpec
    split: Literal["test", "validation"] = "test"

    def key(self, cell: Cell) -> str:
        """Key of its outcomes."""
        return evaluate_key(cell, self.condition, split=self.split, model=self.model.key, epoch=self.model.epoch)


def evaluate_key(cell: Cell, condition: ConditionSpec, *, split: str, model: str, epoch: int | None) -> str:
    """Key of one model's outcomes under one condition; `epoch` chooses among a defend artifact's weights.

    Whether the squash control is asked for is no part of the others' keys.
    """
    # to ask for the control later must not evaluate again what is there
    readouts = cell.experiment.readouts.model_dump(mode="json", exclude_defaults=True, exclude={"squash"})
    spec = {
        "split": split,
        "attack": identity(condition.attack) if condition.attack else None,
        "target": condition.target,
        "epoch": epoch,
        "transform": condition.transform,
        "readouts": readouts,
    } | ({"geometry": condition.geometry} if condition.geometry else {})
    return stage_key("evaluate", spec, [model, cell.keys.data, cell.keys.evaluation, condition.poison or ""])


def own_conditions(cell: Cell) -> list[ConditionSpec]:
    """Clean, and the cell's own trigger; squashed, where that is read out; the first two under each transform."""
    attack = cell.experiment.attack
    target = attack.target_name if attack else None
    plain = [ConditionSpec(None, None, target)]
    if attack is not None:
        plain.append(ConditionSpec(attack, cell.keys.poison, target))
    squash = [ConditionSpec(None, None, target, geometry="squash")] if cell.experiment.readouts.squash else []
    transformed = [item._replace(transform=transform) for transform in transforms(cell) for item in plain]
    return [*plain, *squash, *transformed]


def triggered_conditions(cell: Cell) -> list[ConditionSpec]:
    """Of a cell's own conditions, those with its attack."""
    return [item for item in own_conditions(cell) if item.attack]


def transforms(cell: Cell) -> tuple[Transform, ...]:
    """Transforms under which a cell's models are evaluated too: the suite's, and the one its attack waits for."""
    attack = cell.experiment.attack
    own = (attack.transform,) if attack is not None and attack.transform else ()
    return tuple(dict.fromkeys((*cell.experiment.transforms, *own)))


def suspect_of(cell: Cell) -> ModelRef:
    """The undefended model."""
    return ModelRef("pretrain", cell.keys.pretrain)


def of_model(cell: Cell, model: ModelRef) -> list[Evaluation]:
    """Of the suspect or of what a defense made of it: the cell's own conditions."""
    return [Evaluation(f"own_{item.shown}", model, item) for item in own_conditions(cell)]


def of_twin(cell: Cell) -> list[Evaluation]:
    """Of the clean twin under the cell's triggers: the floors."""
    twin = ModelRef("pretrain", cell.keys.twin)
    return [Evaluation("twin_triggered", twin, item) for item in triggered_conditions(cell)]


def of_gate(cell: Cell) -> list[Evaluation]:
    """What the gate compares beside those: the accuracy of an attacked model's twin."""
    # without a target, as the twin's own cell evaluates it: one outcome serves both
    return [Evaluation("twin_clean", ModelRef("pretrain", cell.keys.twin), CLEAN)] if cell.experiment.attack else []


def of_undefended(cell: Cell) -> list[Evaluation]:
    """Behind the numbers of the undefended model and the verdict on it."""
    return [*of_model(cell, suspect_of(cell)), *of_twin(cell), *of_gate(cell)]


def of_repaired_twin(cell: Cell, model: ModelRef) -> list[Evaluation]:
    """Of the clean twin after the cell's repair, under the cell's triggers."""
    return [Evaluation(REPAIRED_TWIN, model, item) for item in triggered_conditions(cell)]


def of_outside(cell: Cell) -> list[Evaluation]:
    """Of the model from outside, where there is one; clean, whatever the target is, so that all who ask share it."""
    return [Evaluation("outside_clean", ModelRef("pretrain", cell.keys.outside), CLEAN)] if cell.keys.outside else []


def of_search(cell: Cell) -> list[Evaluation]:
    """What a search compares with on validation: the undefended model, clean, and its twin under the trigger."""
    clean, *others = own_conditions(cell)
    found = [Evaluation("validation_start", suspect_of(cell), clean, "validation")]
    # the attack on the model as it is: searches look at no transformed one
    floors = [item for item in others if item.attack and not item.transform]
    twin = ModelRef("pretrain", cell.keys.twin)
    return found + [Evaluation("validation_floor", twin, item, "validation") for item in floors]
