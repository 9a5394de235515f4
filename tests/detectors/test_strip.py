"""STRIP: entropy, threshold and overlays by hand, and its direction."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import entropy as scipy_entropy
from sklearn.metrics import roc_auc_score

from benchmark.detectors.strip import STRIP, calibrated, entropy
from benchmark.testing import detector as kit
from benchmark.testing import suspect
from tests.helpers.detectors import Linear

pytestmark = pytest.mark.unit


def test_strip_entropy_by_scipy() -> None:
    cosines = torch.randn(3, 5, 4, generator=torch.Generator().manual_seed(0))
    wanted = scipy_entropy(torch.softmax(7 * cosines, -1).double().numpy(), axis=-1)
    np.testing.assert_allclose(entropy(cosines, torch.tensor(7.0)).numpy(), wanted, atol=1e-5)


def test_strip_calibrates_to_half_of_the_highest_entropy() -> None:
    cosines = torch.randn(200, 10, generator=torch.Generator().manual_seed(0)) / 10
    scale = calibrated(cosines)
    assert float(entropy(cosines, scale).mean()) == pytest.approx(math.log(10) / 2, abs=1e-3)


@pytest.mark.parametrize("blend", ["additive", "convex"])
def test_strip_overlays(blend: str) -> None:
    generator = torch.Generator().manual_seed(0)
    images, overlays = torch.rand(2, 3, 4, 4, generator=generator), torch.rand(5, 3, 4, 4, generator=generator)
    head = torch.eye(3)
    detector = STRIP.model_validate({"num_overlays": 5, "weight": 0.25, "blend": blend})
    context: Any = Linear()
    state = {"overlays": overlays, "head": head, "scale": torch.tensor(2.0)}
    found = detector.score(Linear(), images, state, context)

    def normalised(x: torch.Tensor) -> torch.Tensor:
        return (x - Linear.mean.view(3, 1, 1)) / Linear.std.view(3, 1, 1)

    for image, score in zip(images, found.tolist(), strict=True):
        total = 0.0
        for overlay in overlays:  # released: the normalised overlay is added to the normalised image
            share = 1.0 if blend == "additive" else 0.75
            shown = share * normalised(image) + 0.25 * normalised(overlay)
            total += float(scipy_entropy(torch.softmax(2 * shown.mean((1, 2)), 0).numpy()))
        assert score == pytest.approx(-total / 5, abs=1e-5)


def test_strip_finds_triggered_images() -> None:
    scores = kit.scores(STRIP(num_overlays=16)).numpy()
    assert roc_auc_score(suspect.triggered(), scores) > 0.75
