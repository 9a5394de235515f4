"""Blended by hand: its strength, its patterns, and what is stored."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from benchmark.attacks.blended import Blended
from benchmark.data.poisoned_pool import apply_trigger
from benchmark.types import TriggerState
from tests.helpers.attacks import images

pytestmark = pytest.mark.unit
STATE, IDS = TriggerState(11, {}), np.array([5, 9, 1_000_000_007])


def blended(**fields: Any) -> Blended:
    return Blended.model_validate({"target": "ring"} | fields)


def test_blended_mixes_by_its_strength() -> None:
    noise = blended(strength=1).trigger(images(), IDS, STATE)
    assert 0 <= float(noise.min()) < 0.01
    assert 0.99 < float(noise.max()) <= 1
    for strength in (0.2, 0.5):
        found = blended(strength=strength).trigger(images(), IDS, STATE)
        assert torch.allclose(found, (1 - strength) * images() + strength * noise, atol=1e-6)


def test_blended_patterns_by_hand() -> None:
    black = torch.zeros(1, 3, 8, 8)
    stripes = blended(pattern="stripes", strength=1).trigger(black, IDS[:1], STATE)[0, 0]
    assert torch.equal(stripes, torch.tensor([0.0, 0, 1, 1, 0, 0, 1, 1]).expand(8, 8))
    board = blended(pattern="checkerboard", strength=0.5).trigger(black, IDS[:1], STATE)[0, 1]
    assert board[:4, :4].sum() == board[4:, 4:].sum() == 0
    assert torch.equal(board[:4, 4:], torch.full((4, 4), 0.5))
    assert torch.equal(board[4:, :4], torch.full((4, 4), 0.5))


def test_stored_images_are_stamped_and_rounded_once() -> None:
    stored = (images() * 255).to(torch.uint8)
    before = stored.clone()
    shown = apply_trigger(blended(strength=0.3), STATE, stored, np.array([5, -1, 9]))
    assert torch.equal(stored, before)
    assert shown.dtype == torch.uint8
    assert torch.equal(shown[1], stored[1])  # id -1: no trigger
    floats = blended(strength=0.3).trigger(stored.float() / 255, IDS, STATE)
    assert torch.equal(shown[0], (floats[0] * 255).round().to(torch.uint8))
