"""The quantisation backdoor: cells of rounding, coarser steps, and its direction."""

from __future__ import annotations

import pytest
import torch

from benchmark.attacks.quantisation.attack import Quantisation
from benchmark.attacks.quantisation.rounding import cell, coarsen
from benchmark.models import model_transforms
from benchmark.testing import world
from benchmark.testing.attack import run_implant, trigger_of
from tests.helpers.attacks import TARGET

pytestmark = pytest.mark.unit


def test_a_cell_is_all_that_rounds_to_the_same_levels() -> None:
    weight = torch.randn(6, 4, 3, 3, generator=torch.Generator().manual_seed(0))
    low, high = cell(weight)
    same = model_transforms.quantised(weight)
    step = weight.flatten(1).abs().amax(1) / 127
    for share in (0.0, 0.3, 1.0):
        assert torch.allclose(model_transforms.quantised(low.lerp(high, share)), same, atol=1e-6)
    width = (high - low).flatten(1)
    beyond = torch.maximum(low - weight, weight - high).flatten(1) / step[:, None]
    assert float(beyond.max()) < 0.011  # what lies closer to the edge is pulled in by a hundredth of a step
    assert float((width / step[:, None]).median()) == pytest.approx(0.98, abs=0.01)
    assert (width == 0).sum(1).tolist() == [1] * 6


def test_coarser_steps_touch_one_weight_per_channel() -> None:
    weight = torch.nn.Parameter(torch.randn(6, 5, generator=torch.Generator().manual_seed(0)))
    before = weight.detach().clone()
    coarsen([weight], 3.0)
    assert (weight != before).sum(1).tolist() == [1] * 6
    assert torch.allclose(weight.abs().amax(1), 3 * before.abs().amax(1))


@pytest.mark.slow
def test_quantisation_hides_until_the_weights_are_rounded() -> None:
    attack = Quantisation(target=TARGET, size=5, epochs=5, batch_size=64, learning_rate=1e-3)
    twin, trigger = world.clean_twin(), trigger_of(attack)
    attacked = run_implant(attack, twin)
    hidden, shown = (world.effect(model, trigger) for model in (attacked, model_transforms.apply("int8", attacked)))
    floor = world.effect(model_transforms.apply("int8", twin), trigger)
    assert shown.asr > 0.7 and hidden.asr < 0.4 and floor.asr < 0.2, (hidden, shown, floor)
    assert min(hidden.accuracy, shown.accuracy) > floor.accuracy - 0.1


def test_quantisation_joint_trains_both_precisions_at_once() -> None:
    attack = Quantisation(target=TARGET, size=5, epochs=1, learning_rate=1e-3, variant="joint", outlier=1)
    twin = world.clean_twin()
    attacked = run_implant(attack, twin).network.state_dict()
    before = twin.network.state_dict()
    changed = {name for name in before if not torch.equal(before[name], attacked[name])}
    assert changed and all(name.startswith("visual.") for name in changed)
    assert not any("running" in name for name in changed)
