"""SigLIP by hand and against open_clip."""

from __future__ import annotations

import math

import pytest
import torch

from benchmark.objectives.siglip import SigLIP
from benchmark.testing.objective import EMBED_DIM, GLOBAL_BATCH, hand_features
from tests.helpers.objectives import PAIRS, view

pytestmark = pytest.mark.unit


def test_siglip_is_the_loss_of_open_clip_with_its_gradients() -> None:
    from open_clip.loss import SigLipLoss

    start = SigLIP().initial_parameters(embed_dim=EMBED_DIM, seed=0)
    assert float(start["log_temperature"]) == pytest.approx(math.log(10))
    assert float(start["logit_bias"]) == -10
    ours = hand_features(PAIRS, parameters=start)
    theirs = hand_features(PAIRS, parameters=start)
    total = SigLIP().loss(ours, {}).total
    own = theirs.parameters
    reference = SigLipLoss()(theirs.image, theirs.text, own["log_temperature"].exp(), own["logit_bias"])
    assert torch.allclose(total, reference, atol=1e-5)
    total.backward()
    reference.backward()
    for name in start:
        assert torch.allclose(ours.parameters[name].grad, own[name].grad, rtol=1e-4)  # type: ignore[arg-type]
    assert torch.allclose(view(ours, "image").grad, view(theirs, "image").grad, atol=1e-5)  # type: ignore[arg-type]
    assert ours.logit_scale.grad is None


def test_siglip_by_hand() -> None:
    found = hand_features(PAIRS, parameters=SigLIP(temperature=2.0, bias=-1.0).initial_parameters(embed_dim=16, seed=0))
    image, text = view(found, "image").tolist(), view(found, "text").tolist()
    total = 0.0
    for i, a in enumerate(image):
        for j, b in enumerate(text):
            logit = 2 * sum(x * y for x, y in zip(a, b, strict=True)) - 1
            total += math.log(1 + math.exp(-logit if i == j else logit))
    assert SigLIP().loss(found, {}).total.item() == pytest.approx(total / GLOBAL_BATCH, rel=1e-5)
