"""Weights that a method gives back: finite, or the method has failed; NaN would be read out as a class."""

from __future__ import annotations

import pytest
import torch

from benchmark.stages.work.weights import given_back
from benchmark.testing import world
from benchmark.training.loop import Diverged

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
