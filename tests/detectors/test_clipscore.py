"""CLIPScore by hand."""

from __future__ import annotations

import pytest
import torch

from benchmark.detectors.clipscore import CLIPScore
from tests.helpers.detectors import fake

pytestmark = pytest.mark.unit


def test_clipscore_by_hand() -> None:
    image, text = torch.tensor([[3.0, 4.0], [1.0, 0.0]]), torch.tensor([[4.0, 3.0], [-2.0, 0.0]])
    assert CLIPScore().scores(None, fake(image, text)).tolist() == pytest.approx([-24 / 25, 1.0])
