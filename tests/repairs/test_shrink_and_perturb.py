"""Shrink-and-perturb: its first step by hand, and its direction."""

from __future__ import annotations

import pytest
import torch

from benchmark.repairs.shrink_and_perturb import ShrinkAndPerturb, shrunk
from benchmark.rng import generator
from benchmark.testing import world
from tests.helpers.repairs import CLEANING, after, before

pytestmark = pytest.mark.unit


class Drawing:
    """The part of a context that `shrunk` uses."""

    def __init__(self) -> None:
        self.generator = generator(5)


def test_shrunk_scales_every_parameter_and_adds_noise() -> None:
    model = world.fresh_model()
    plain: dict[str, torch.Tensor] = dict(shrunk(model, 0.95, 0.0, Drawing()).network.named_parameters())  # type: ignore[arg-type]
    noisy: dict[str, torch.Tensor] = dict(shrunk(model, 0.95, 1e-2, Drawing()).network.named_parameters())  # type: ignore[arg-type]
    for name, parameter in model.network.named_parameters():
        assert torch.allclose(plain[name], 0.95 * parameter)
    added = torch.cat([(noisy[name] - plain[name]).flatten() for name in plain]).detach()
    assert float(added.std()) == pytest.approx(1e-2, rel=0.02)
    assert abs(float(added.mean())) < 1e-3


def test_shrink_and_perturb_lowers_asr_and_keeps_accuracy() -> None:
    _, found = after(ShrinkAndPerturb(**CLEANING, epochs=8))
    assert found.asr < before().asr - 0.2
    assert found.accuracy > before().accuracy - 0.08
