"""MMCL by hand and against open_clip; its direction."""

from __future__ import annotations

import math

import pytest
import torch

from benchmark.objectives.mmcl import MMCL, contrastive
from tests.helpers.objectives import by_hand, features

pytestmark = pytest.mark.unit


def test_mmcl_by_hand() -> None:
    found = features()
    assert found.image is not None
    assert found.text is not None
    scale = float(found.logit_scale.detach())
    expected = (by_hand(found.image, found.text, scale) + by_hand(found.text, found.image, scale)) / 2
    loss = MMCL().loss(found, {})
    assert float(loss.total.detach()) == pytest.approx(expected, rel=1e-5)
    assert set(loss.terms) == {"mmcl"}


def test_mmcl_is_the_loss_of_open_clip_with_its_gradient() -> None:
    from open_clip.loss import ClipLoss

    ours, theirs = features(), features()
    total = MMCL().loss(ours, {}).total
    reference = ClipLoss()(theirs.image, theirs.text, theirs.logit_scale)
    assert torch.allclose(total, reference, atol=1e-6)
    total.backward()
    reference.backward()
    for view in ("image", "text", "logit_scale"):
        mine, other = getattr(ours, view), getattr(theirs, view)
        assert mine.grad is not None
        assert torch.allclose(mine.grad, other.grad, atol=1e-6)


def test_perfect_and_hopeless_pairs() -> None:
    eye = torch.eye(8)
    assert float(contrastive(eye, eye, torch.tensor(100.0))) == pytest.approx(0, abs=1e-6)
    same = torch.ones(8, 4) / 2
    assert float(contrastive(same, same, torch.tensor(100.0))) == pytest.approx(math.log(8), rel=1e-5)
