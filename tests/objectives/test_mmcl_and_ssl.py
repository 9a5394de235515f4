"""MMCL and SSL by hand and against open_clip; the directions; weights; views."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional

from benchmark.objectives.mmcl import MMCL, contrastive
from benchmark.objectives.mmcl_ssl import MMCLSSL
from benchmark.objectives.ssl import SSL, in_modal, picks
from benchmark.testing.objective import hand_features
from benchmark.types import Features

pytestmark = pytest.mark.unit
ALL = frozenset({"image", "text", "image_augmented", "text_augmented"})


def features() -> Features:
    return hand_features(ALL)


def by_hand(a: torch.Tensor, b: torch.Tensor, scale: float) -> float:
    """Mean over rows of a of -log of the share of the own partner, in plain loops."""
    total = 0.0
    for i in range(len(a)):
        logits = [scale * sum(x * y for x, y in zip(a[i].tolist(), b[j].tolist(), strict=True)) for j in range(len(b))]
        total += math.log(sum(math.exp(logit) for logit in logits)) - logits[i]
    return total / len(a)


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


def test_perfect_and_hopeless_pairs() -> None:
    eye = torch.eye(8)
    assert float(contrastive(eye, eye, torch.tensor(100.0))) == pytest.approx(0, abs=1e-6)
    same = torch.ones(8, 4) / 2
    assert float(contrastive(same, same, torch.tensor(100.0))) == pytest.approx(math.log(8), rel=1e-5)


@pytest.mark.parametrize("direction", ["one_directional", "symmetric"])
def test_mmcl_ssl_is_the_weighted_sum(direction: str) -> None:
    found = features()
    objective = MMCLSSL.model_validate({"mmcl_weight": 2.0, "ssl_weight": 0.5, "direction": direction})
    loss = objective.loss(found, {})
    expected = 2.0 * MMCL().loss(found, {}).total + 0.5 * in_modal(found, objective.direction)
    assert torch.allclose(loss.total, expected)
    assert set(loss.terms) == {"mmcl", "ssl"}
    alone = MMCLSSL(ssl_weight=0).loss(found, {}).total
    assert torch.allclose(alone, MMCL().loss(found, {}).total)


def test_objectives_ask_for_the_views_they_use() -> None:
    assert MMCL.views == {"image", "text"}
    assert MMCLSSL.views == SSL.views == ALL
    (one_pass,) = MMCLSSL().plan(0, {}, None).passes  # type: ignore[arg-type]
    assert (one_pass.views, one_pass.rows, one_pass.learning_rate) == (ALL, None, None)
