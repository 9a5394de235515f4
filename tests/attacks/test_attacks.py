"""BadNet and Blended by hand: what is on the trigger, whether it changes, where it sits, how strong it is."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from benchmark.attacks.badnet import BadNet
from benchmark.attacks.blended import Blended
from benchmark.data.poisoned_pool import apply_trigger
from benchmark.types import TriggerState

pytestmark = pytest.mark.unit
STATE, IDS = TriggerState(11, {}), np.array([5, 9, 1_000_000_007])


def images(size: int = 12) -> torch.Tensor:
    return torch.rand(3, 3, size, size, generator=torch.Generator().manual_seed(0)) * 0.5 + 0.25


def badnet(**fields: Any) -> BadNet:
    return BadNet.model_validate({"target": "ring", "size": 4, "pattern": "white"} | fields)


def blended(**fields: Any) -> Blended:
    return Blended.model_validate({"target": "ring"} | fields)


def changed(found: torch.Tensor) -> torch.Tensor:
    """(B, H, W) bool."""
    return (found != images(found.shape[-1])).any(1)


@pytest.mark.parametrize(
    ("location", "corners"),
    [
        ("bottom_right", [(8, 8)]),
        ("center", [(4, 4)]),
        ("four_corners", [(0, 0), (0, 8), (8, 0), (8, 8)]),
    ],
)
def test_badnet_covers_its_place_and_nothing_else(location: str, corners: list[tuple[int, int]]) -> None:
    found = badnet(location=location).trigger(images(), IDS, STATE)
    expected = images()
    for top, left in corners:
        expected[:, :, top : top + 4, left : left + 4] = 1
    assert torch.equal(found, expected)


def test_random_places_differ_by_sample_and_stay_inside() -> None:
    ids = np.arange(200)
    many = torch.full((200, 3, 12, 12), 0.5)
    covered = (badnet(location="random").trigger(many, ids, STATE) == 1).all(1)
    assert covered.flatten(1).sum(1).tolist() == [16] * 200
    tops = covered.any(2).int().argmax(1)
    lefts = covered.any(1).int().argmax(1)
    assert {int(top) for top in tops} == {int(left) for left in lefts} == set(range(9))
    assert not torch.equal(tops, lefts)
    again = (badnet(location="random").trigger(many[:1], ids[7:8], STATE) == 1).all(1)
    assert torch.equal(again[0], covered[7])


def test_badnet_patterns_by_hand() -> None:
    def patch(pattern: str) -> torch.Tensor:
        return badnet(pattern=pattern).trigger(images(), IDS, STATE)[0, :, 8:, 8:]

    assert torch.equal(patch("white"), torch.ones(3, 4, 4))
    assert torch.equal(patch("yellow"), torch.cat([torch.ones(2, 4, 4), torch.zeros(1, 4, 4)]))
    board = torch.zeros(4, 4)
    board[::2, ::2] = 1
    assert torch.equal(patch("checkerboard"), board.expand(3, 4, 4))


def test_uniform_noise_is_uniform_and_clamped_noise_sits_at_the_ends() -> None:
    big = torch.full((2, 3, 64, 64), 0.5)
    uniform = badnet(pattern="uniform", size=64).trigger(big, IDS[:2], STATE)
    assert float(uniform.mean()) == pytest.approx(0.5, abs=0.01)
    assert float(uniform.var()) == pytest.approx(1 / 12, abs=0.002)
    clamped = badnet(pattern="clamped", size=64).trigger(big, IDS[:2], STATE)
    # N(0.5, 1) lies outside [0, 1] with probability 0.617, half of it at either end
    for end in (0.0, 1.0):
        assert float((clamped == end).float().mean()) == pytest.approx(0.3085, abs=0.01)


@pytest.mark.parametrize("make", [lambda mode: badnet(pattern="uniform", mode=mode), lambda mode: blended(mode=mode)])
def test_fixed_is_one_trigger_and_fresh_is_one_per_sample(make: Any) -> None:
    grey = torch.full((3, 3, 12, 12), 0.5)
    fixed = make("fixed").trigger(grey, IDS, STATE)
    assert torch.equal(fixed[0], fixed[1])
    assert torch.equal(fixed[0], fixed[2])
    fresh = make("fresh").trigger(grey, IDS, STATE)
    assert not torch.equal(fresh[0], fresh[1])
    assert not torch.equal(fresh[1], fresh[2])
    assert torch.equal(make("fresh").trigger(grey[:1], IDS[1:2], STATE)[0], fresh[1])
    other = make("fixed").trigger(grey, IDS, TriggerState(12, {}))
    assert not torch.equal(other[0], fixed[0])


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


def test_a_patch_larger_than_the_image_is_refused() -> None:
    with pytest.raises(ValueError, match=r"badnet\.size must be at most the image's 12 px, got 13"):
        badnet(size=13).trigger(images(), IDS, STATE)
    assert bool(changed(badnet(size=12).trigger(images(), IDS, STATE)).all())


def test_stored_images_are_stamped_and_rounded_once() -> None:
    stored = (images() * 255).to(torch.uint8)
    before = stored.clone()
    shown = apply_trigger(blended(strength=0.3), STATE, stored, np.array([5, -1, 9]))
    assert torch.equal(stored, before)
    assert shown.dtype == torch.uint8
    assert torch.equal(shown[1], stored[1])  # id -1: no trigger
    floats = blended(strength=0.3).trigger(stored.float() / 255, IDS, STATE)
    assert torch.equal(shown[0], (floats[0] * 255).round().to(torch.uint8))
