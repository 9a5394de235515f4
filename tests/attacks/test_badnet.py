"""BadNet by hand: what is on the trigger, whether it changes, where it sits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from benchmark.attacks.badnet import BadNet
from benchmark.attacks.blended import Blended
from benchmark.types import TriggerState
from tests.helpers.attacks import images

pytestmark = pytest.mark.unit
STATE, IDS = TriggerState(11, {}), np.array([5, 9, 1_000_000_007])


def badnet(**fields: Any) -> BadNet:
    return BadNet.model_validate({"target": "ring", "size": 4, "pattern": "white"} | fields)


def changed(found: torch.Tensor) -> torch.Tensor:
    """(B, H, W) bool."""
    return (found != images(*found.shape[-2:])).any(1)


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


@pytest.mark.parametrize(
    "make", [lambda mode: badnet(pattern="uniform", mode=mode), lambda mode: Blended(target="ring", mode=mode)]
)
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


def test_a_patch_larger_than_the_image_is_refused() -> None:
    with pytest.raises(ValueError, match=r"badnet\.size must be at most the image's 12 px, got 13"):
        badnet(size=13).trigger(images(), IDS, STATE)
    assert bool(changed(badnet(size=12).trigger(images(), IDS, STATE)).all())
