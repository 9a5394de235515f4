"""Weights that a method gives back: finite, or the method has failed; NaN would be read out as a class."""

from __future__ import annotations

import pytest
import torch

from benchmark.errors import Diverged
from benchmark.models.clip import ClipModel
from benchmark.stages.work.weights import given_back, left_as_it_was
from benchmark.testing import world

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("end", ["weight", "running_var"])
def test_weights_and_statistics_that_are_not_finite_are_a_failure(value: float, end: str) -> None:
    model = world.fresh_model()
    assert given_back(model) is model
    name, tensor = [item for item in model.network.state_dict().items() if item[0].endswith(end)][-1]
    with torch.no_grad():
        tensor.view(-1)[-1] = value
    with pytest.raises(Diverged, match=f"must give back finite weights, got others in {name}"):
        given_back(model)


def scale(model: ClipModel) -> torch.Tensor:
    return model.network.state_dict()["logit_scale"]


def test_a_model_that_a_method_changes_in_place_is_a_failure() -> None:
    model = world.fresh_model()
    with left_as_it_was(model):
        scale(model.clone()).zero_()
    for change in (lambda: scale(model).zero_(), lambda: model.network.register_buffer("more", torch.ones(1))):
        with (
            pytest.raises(ValueError, match="must leave the model that it is given, got another"),
            left_as_it_was(model),
        ):
            change()
