"""SIG by hand: the sinusoid along every row, added or blended."""

from __future__ import annotations

import math

import pytest
import torch

from benchmark.attacks.sig import SIG
from tests.helpers.attacks import EMPTY, IDS, TARGET, images

pytestmark = pytest.mark.unit


def test_sig_adds_one_sinusoid_along_every_row() -> None:
    shown = SIG(target=TARGET, amplitude=51, frequency=3).trigger(images(), IDS, EMPTY)
    for column in range(12):
        wave = 0.2 * math.sin(2 * math.pi * 3 * column / 12)
        assert torch.allclose(shown[..., column], images()[..., column] + wave, atol=1e-6)


def test_sig_blended_is_a_fifth_of_the_wave_on_a_darker_image() -> None:
    added, mixed = (
        SIG(target=TARGET, application=how).trigger(images(8, 24), IDS, EMPTY) for how in ("additive", "blended")
    )
    wave = added - images(8, 24)
    assert float(wave.abs().max()) == pytest.approx(60 / 255, abs=1e-6)
    assert torch.allclose(mixed, 0.8 * images(8, 24) + 0.2 * wave, atol=1e-6)
