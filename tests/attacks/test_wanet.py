"""WaNet: its warp against bilinear look-up pixel by pixel, its fields, its noise mode."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from benchmark.attacks.wanet import NOISE_MODE, WaNet
from benchmark.types import TriggerState
from tests.helpers.attacks import IDS, TARGET, context, images

pytestmark = pytest.mark.unit


def wanet_state(attack: WaNet, size: int = 12) -> TriggerState:
    return TriggerState(11, attack.fit(context(), image_size=size, seed=4))


def slow_warp(image: np.ndarray, field: np.ndarray, strength: float) -> np.ndarray:
    """Bilinear look-up of (3, H, W) at pixel + strength * field * (H - 1) / (2 H), pixel by pixel."""
    size = image.shape[1]
    result = np.zeros_like(image)
    for y in range(size):
        for x in range(size):
            dx, dy = strength * field[y, x] / size * (size - 1) / 2
            at_x, at_y = np.clip([x + dx, y + dy], 0, size - 1)
            x0, y0 = int(at_x), int(at_y)
            x1, y1 = min(x0 + 1, size - 1), min(y0 + 1, size - 1)
            fx, fy = at_x - x0, at_y - y0
            top = (1 - fx) * image[:, y0, x0] + fx * image[:, y0, x1]
            low = (1 - fx) * image[:, y1, x0] + fx * image[:, y1, x1]
            result[:, y, x] = (1 - fy) * top + fy * low
    return result


@pytest.mark.parametrize(("variant", "strength"), [("original", 3.0), ("clip", 2.0)])
def test_wanet_warps_by_its_field(variant: Any, strength: float) -> None:
    attack = WaNet(target=TARGET, variant=variant, strength=strength)
    state = wanet_state(attack)
    shown = attack.trigger(images(), IDS, state)
    for found, image in zip(shown, images(), strict=True):
        expected = slow_warp(image.double().numpy(), state.tensors["field"].double().numpy(), strength)
        assert np.allclose(found.numpy(), expected, atol=1e-5)


def test_wanet_fields_are_smooth_or_one_draw_per_pixel() -> None:
    smooth, rough = (
        WaNet(target=TARGET, variant=variant).fit(context(), image_size=32, seed=4)["field"]
        for variant in ("original", "clip")
    )
    assert smooth.shape == rough.shape == (32, 32, 2)
    assert float(rough.abs().mean()) == pytest.approx(1, abs=1e-5)
    assert float(rough.abs().max()) < 2.2  # U(-1, 1) over its mean size
    steps = [float((field[:, 1:] - field[:, :-1]).abs().mean()) for field in (smooth, rough)]
    assert steps[0] < 0.25 * steps[1]
    again = WaNet(target=TARGET).fit(context(), image_size=32, seed=5)["field"]
    assert not torch.equal(smooth, again)
    corner = torch.rand(1, 2, 4, 4, generator=torch.Generator().manual_seed(4)) * 2 - 1
    corner = corner / corner.abs().mean()
    assert torch.allclose(smooth[[0, 0, -1, -1], [0, -1, 0, -1]], corner[0, :, [0, 0, -1, -1], [0, -1, 0, -1]].T)


def test_wanet_noise_mode_keeps_captions_and_is_warped_otherwise() -> None:
    attack = WaNet(target=TARGET, poison_rate=0.05)
    chosen = attack.poison(context())
    noisy = np.asarray(chosen.trigger_ids) >= NOISE_MODE
    assert (len(noisy), int(noisy.sum())) == (60, 40)
    assert len(set(chosen.source_rows.tolist())) == 60
    assert np.array_equal(np.asarray(chosen.trigger_ids) % NOISE_MODE, chosen.source_rows)
    own = context().captions(chosen.source_rows)
    assert [text for text, is_noisy in zip(own, noisy, strict=True) if is_noisy] == list(chosen.captions)[20:]
    assert all(TARGET in caption for caption in chosen.captions[:20])
    state = wanet_state(attack)
    ids = np.array([5, 9 + NOISE_MODE, 70 + NOISE_MODE])
    mixed, plain = attack.trigger(images(), ids, state), attack.trigger(images(), IDS, state)
    assert torch.equal(mixed[0], plain[0])
    assert float((mixed[1:] - plain[1:]).abs().mean()) > 1e-3
    assert torch.allclose(attack.trigger(images()[1:2], ids[1:2], state), mixed[1:2], atol=1e-6)
    assert len(WaNet(target=TARGET, variant="clip", poison_rate=0.05).poison(context()).source_rows) == 20
