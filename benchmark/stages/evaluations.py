"""Which evaluations a cell's numbers, gate and search are made of; nodes, verdicts and records read them here."""

from __future__ import annotations

from typing import Literal, NamedTuple

from benchmark.stages.cells import Cell
from benchmark.stages.conditions import (
    CLEAN,
    ConditionSpec,
    ModelRef,
    evaluate_key,
    own_conditions,
    triggered_conditions,
)

REPAIRED_TWIN = "repaired_twin_triggered"


class Evaluation(NamedTuple):
    """One model under one condition on one split."""

    role: str  # what its outcomes are to a record, see `schemas.SOURCE`
    model: ModelRef
    condition: ConditionSpec
    split: Literal["test", "validation"] = "test"

    def key(self, cell: Cell) -> str:
        """Key of its outcomes."""
        return evaluate_key(cell, self.condition, split=self.split, model=self.model.key, epoch=self.model.epoch)


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
