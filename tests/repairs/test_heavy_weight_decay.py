"""Heavy weight decay: what the inherited optimiser state undoes, and its direction."""

from __future__ import annotations

from typing import Any

import pytest

from benchmark.repairs.heavy_weight_decay import HeavyWeightDecay
from benchmark.testing.repair import run_repair
from tests.helpers.repairs import CLEANING, after, before

pytestmark = pytest.mark.unit


def test_the_inherited_state_undoes_the_decay_and_a_fresh_one_takes_it() -> None:
    def norm(variant: Any, decay: float) -> float:
        repair = HeavyWeightDecay(**CLEANING, epochs=1, variant=variant, weight_decay=decay)
        found: Any = run_repair(repair).model.network.visual
        return float(found.layer4[0].conv3.weight.detach().norm())

    assert norm("as_released", 0.2) == norm("as_released", 50.0)
    assert norm("as_intended", 50.0) < 0.95 * norm("as_intended", 0.2)


def test_heavy_weight_decay_lowers_asr_and_keeps_accuracy() -> None:
    _, found = after(HeavyWeightDecay(**CLEANING, epochs=15, weight_decay=30.0))
    assert found.asr < before().asr - 0.2
    assert found.accuracy > before().accuracy - 0.08
