"""TBAR: the task vector moves parameters alone; its direction."""

from __future__ import annotations

import pytest
import torch

from benchmark.repairs.tbar import TBAR, moved
from benchmark.testing import world
from tests.helpers.repairs import after, before
from tests.helpers.tiny import tensors

pytestmark = pytest.mark.unit


def test_moved_subtracts_the_task_vector_from_parameters_only() -> None:
    model, towards = world.fresh_model(), world.fresh_model()
    with torch.no_grad():
        for parameter in towards.network.parameters():
            parameter.add_(0.5)
        towards.network.visual.bn1.running_mean.add_(1)  # type: ignore[union-attr,operator]
    found, old = tensors(moved(model, towards, 2.0)), tensors(model)
    names = {name for name, _ in model.network.named_parameters()}
    for name, value in found.items():
        expected = old[name] - 1.0 if name in names else old[name]
        assert torch.allclose(value.float(), expected.float(), atol=1e-5), name


def test_tbar_lowers_asr_within_its_budget() -> None:
    model, found = after(TBAR(learning_rate=1e-4, budget=0.08))
    assert found.asr < before().asr - 0.4
    assert found.accuracy > before().accuracy * (1 - 0.08) - 0.05  # chosen on half of the clean pairs
    old, new = tensors(world.backdoored().model), tensors(model)
    assert all(torch.equal(old[name], new[name]) for name in old if not name.startswith("visual."))
