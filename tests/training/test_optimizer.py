"""The learning rate over steps, which parameters decay, and the optimiser's tensors put back."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from benchmark.objectives.mmcl import MMCL
from benchmark.training.loop import train
from benchmark.training.optimizer import adamw, learning_rate, optimizer_tensors, restore_optimizer
from benchmark.types import Training
from tests.helpers.tiny import differing, model, pairs

pytestmark = pytest.mark.unit
SHORT = Training(epochs=4, batch_size=16, learning_rate=2e-3, warmup_steps=3, norm_group=8)


def test_inherited_state_is_put_back_in_the_memory_layout_of_its_parameter() -> None:
    """The fused kernel walks raw memory, and the weights are channels last."""
    trained = train(model(), pairs(), MMCL(), SHORT.model_copy(update={"epochs": 1}), seed=3)
    network = trained.model.network
    optimizer = adamw(network, SHORT)
    restore_optimizer(network, optimizer, trained.optimizer)
    convolution = dict(network.named_parameters())["visual.conv2.weight"]
    slot = optimizer.state[convolution]["exp_avg"]
    assert slot.stride() == convolution.stride()
    assert torch.equal(slot, trained.optimizer["visual.conv2.weight/exp_avg"])


def test_warm_up_happens_then_cosine_falls_to_nothing() -> None:
    training = Training(epochs=5, learning_rate=1.0, warmup_steps=4)
    rates = [learning_rate(training, step, steps_per_epoch=4) for step in range(20)]
    assert rates[:4] == [0.25, 0.5, 0.75, 1.0]
    assert rates[4] == 1.0
    assert all(a > b for a, b in itertools.pairwise(rates[4:]))
    assert rates[12] == pytest.approx(0.5)  # half way between the end of the warm-up and the end
    assert 0 < rates[-1] < 0.02


def test_as_released_skips_a_short_warm_up_and_rises_at_the_end() -> None:
    training = Training(epochs=5, learning_rate=1.0, warmup_steps=3, schedule="as_released")
    rates = [learning_rate(training, step, steps_per_epoch=4) for step in range(20)]
    assert rates[0] == pytest.approx(0.5 * (1 + math.cos(math.pi / 17)))  # k = 4: past the warm-up at once
    last = rates[16:]
    assert last == sorted(last)
    assert last[0] < last[-1]
    longer = training.model_copy(update={"warmup_steps": 8})
    assert learning_rate(longer, 0, steps_per_epoch=4) == 5 / 8  # a warm-up of two epochs starts at its fifth step


def test_decay_spares_norms_biases_and_the_logit_scale() -> None:
    network = model().network
    decayed, plain = adamw(network, SHORT).param_groups
    name_of = {parameter: name for name, parameter in network.named_parameters()}
    spared = {name_of[parameter] for parameter in plain["params"]}
    assert (decayed["weight_decay"], plain["weight_decay"]) == (0.1, 0.0)
    assert {"logit_scale", "visual.bn1.weight", "visual.bn1.bias", "ln_final.weight"} <= spared
    assert all(network.get_parameter(name).ndim < 2 or name.endswith("bias") for name in spared)
    kept = {name_of[parameter] for parameter in decayed["params"]}
    assert {"visual.conv1.weight", "token_embedding.weight", "text_projection"} <= kept
    assert len(kept) + len(spared) == len(name_of)


def test_optimiser_tensors_come_back() -> None:
    trained = train(model("tiny-vit"), pairs(), MMCL(), SHORT.model_copy(update={"epochs": 1}), seed=0)
    optimizer = adamw(trained.model.network, SHORT)
    restore_optimizer(trained.model.network, optimizer, trained.optimizer)
    assert differing(optimizer_tensors(trained.model.network, optimizer), trained.optimizer) == []
    assert float(trained.optimizer["logit_scale/step"]) == 3
