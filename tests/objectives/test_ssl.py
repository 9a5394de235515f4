"""SSL by hand, in one direction and in both."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from benchmark.objectives.mmcl import contrastive
from benchmark.objectives.ssl import SSL, picks
from tests.helpers.objectives import by_hand, features

pytestmark = pytest.mark.unit


def test_one_directional_ssl_by_hand() -> None:
    """Original rows pick among augmented columns, as in the released code; the other way round is another number."""
    found = features()
    scale = float(found.logit_scale.detach())
    image, text, image_augmented, text_augmented = (value for value in found[:4] if value is not None)
    expected = (by_hand(image, image_augmented, scale) + by_hand(text, text_augmented, scale)) / 2
    backwards = (by_hand(image_augmented, image, scale) + by_hand(text_augmented, text, scale)) / 2
    total = float(SSL().loss(found, {}).total.detach())
    assert total == pytest.approx(expected, rel=1e-5)
    assert abs(total - backwards) > 1e-3
    symmetric = float(SSL(direction="symmetric").loss(found, {}).total.detach())
    assert symmetric == pytest.approx((expected + backwards) / 2, rel=1e-5)


def test_symmetric_loss_does_not_care_which_side_comes_first() -> None:
    a, b = (functional.normalize(torch.randn(6, 4, generator=torch.Generator().manual_seed(s)), dim=1) for s in (0, 1))
    scale = torch.tensor(7.0)
    assert torch.allclose(contrastive(a, b, scale), contrastive(b, a, scale), atol=1e-6)
    assert torch.allclose(contrastive(a, b, scale), (picks(a, b, scale) + picks(b, a, scale)) / 2, atol=1e-6)
