"""What the kit says of objectives that break their contract."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import pytest
import torch

from benchmark.objectives.ssl import picks
from benchmark.testing.check import check_method
from benchmark.types import Card, Features, Loss, Objective, Pass, Plan, PlanContext, State
from tests.helpers.objectives import view

pytestmark = pytest.mark.unit


class Broken(Objective):
    """Breaks what a subclass overrides."""

    name: ClassVar[str] = "broken"
    card: ClassVar[Card] = Card(title="Broken", citation="none", access="training", summary="For this test.")

    def loss(self, features: Features, state: State) -> Loss:
        total = picks(view(features, "image"), view(features, "text"), features.logit_scale)
        return Loss(total, {}, state)


class ChangesState(Broken):
    """Writes into the state that it was given."""

    def initial_state(self, *, embed_dim: int, seed: int) -> State:
        return {"count": torch.zeros(())}

    def plan(self, epoch: int, state: State, ctx: PlanContext) -> Plan:
        state["count"] += 1
        return Plan((Pass(self.loss),), state)


class RowTwice(Broken):
    """Names a row twice, from the third epoch on."""

    def plan(self, epoch: int, state: State, ctx: PlanContext) -> Plan:
        rows = np.arange(ctx.num_rows) // (2 if epoch > 2 else 1)
        return Plan((Pass(self.loss, rows=rows),), state)


class NegativeRate(Broken):
    """A rate that falls below zero within the pass."""

    def plan(self, epoch: int, state: State, ctx: PlanContext) -> Plan:
        return Plan((Pass(self.loss, learning_rate=lambda share: 0.1 - share),), state)


class EdaOnImages(Broken):
    """Asks for an augmentation of captions on images."""

    def plan(self, epoch: int, state: State, ctx: PlanContext) -> Plan:
        return Plan((Pass(self.loss, augmentations={"image": "eda"}),), state)


class IdleParameter(Broken):
    """Has a parameter that its loss leaves out."""

    def initial_parameters(self, *, embed_dim: int, seed: int) -> State:
        return {"unused": torch.zeros(())}


class LateConstant(Broken):
    """Has a loss without gradient in a later epoch."""

    def plan(self, epoch: int, state: State, ctx: PlanContext) -> Plan:
        return Plan((Pass(self.constant if epoch > 4 else self.loss),), state)

    def constant(self, features: Features, state: State) -> Loss:
        return Loss(features.logit_scale.detach(), {}, state)


@pytest.mark.parametrize(
    ("cls", "check", "text"),
    [
        (ChangesState, "plans passes", "plan() must return the new state"),
        (RowTwice, "plans passes", "must not name a row twice"),
        (NegativeRate, "schedules give rates", "must be a finite number, 0 or more"),
        (EdaOnImages, "plans passes", "image cannot be augmented by 'eda'"),
        (IdleParameter, "gradient reaches the towers", "every parameter of the objective's own must get a gradient"),
        (LateConstant, "gradient reaches the towers", "must depend on the features in epoch 6"),
    ],
    ids=lambda part: part.__name__ if isinstance(part, type) else "",
)
def test_kit_names_the_breach(cls: type[Objective], check: str, text: str) -> None:
    found: Mapping[str, str] = {item.name: item.detail for item in check_method(cls) if not item.ok}
    assert text in found[check]
