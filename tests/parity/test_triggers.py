"""Triggers on stored images, against released code; a level is one of 255, as released code cuts and ours rounds."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from benchmark.attacks.badnet import BadNet
from benchmark.attacks.blended import Blended
from benchmark.attacks.sig import SIG
from benchmark.attacks.wanet import WaNet
from benchmark.data.pools import apply_trigger
from benchmark.types import BaseAttack, TriggerState
from tests.parity.golden import Golden, agree, golden

pytestmark = pytest.mark.unit
TARGET = {"target": "anything"}
SIZES = (224, 32)  # 32: the released lines with the side changed
CUT_OTHERWISE = 1e-4  # share of the values that sampling at 224 px may take over the edge of a level


class GivenNoise(Blended):
    """Blended with the noise of the released run."""

    noise: ClassVar[torch.Tensor]

    def _pattern(self, images: torch.Tensor, ids: np.ndarray, seed: int) -> torch.Tensor:
        return self.noise


def tiled(tile: np.ndarray, size: int, *, axes: tuple[int, int]) -> torch.Tensor:
    """Repeats a tile of 32 pixels over an image."""
    repeats = [size // 32 if axis in axes else 1 for axis in range(tile.ndim)]
    return torch.from_numpy(np.tile(tile, repeats))


def blended(noise: torch.Tensor) -> Blended:
    """Blended with one given pattern, (3, H, W)."""
    return type("Given", (GivenNoise,), {"noise": noise[None]})(**TARGET)


def trigger(name: str, data: Golden, size: int) -> tuple[BaseAttack, TriggerState]:
    """The attack that stands for an array of the file, and what its trigger needs."""
    patch = int(data["patch_size"])
    attacks: dict[str, BaseAttack] = {
        "sig_blended": SIG(**TARGET, application="blended"),
        "sig_additive": SIG(**TARGET, application="additive"),
        "blended": blended(tiled(data["noise_tile"], size, axes=(1, 2))),
        "warped": WaNet(**TARGET, variant="clip"),
        "yellow": BadNet(**TARGET, pattern="yellow", location="four_corners", size=patch),
    }
    return attacks[name], TriggerState(0, {"field": tiled(data["field_tile"], size, axes=(0, 1))})


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", ["sig_blended", "sig_additive", "blended", "warped", "yellow"])
def test_a_triggered_image_is_the_released_one_to_a_level(name: str, size: int) -> None:
    data = golden(f"triggers_{size}")
    attack, state = trigger(name, data, size)
    images, ids = torch.from_numpy(data["image"])[None], np.zeros(1, np.int64)
    agree(apply_trigger(attack, state, images, ids)[0], data[name], 0 if name == "yellow" else 1)
    # cut as the released code does, the bytes are the same
    exact = attack.trigger(images.float() / 255, ids, state).clamp(0, 1)[0]
    otherwise = ((255 * exact).byte().numpy() != data[name]).mean()
    agree(otherwise, np.zeros(()), CUT_OTHERWISE if (name, size) == ("warped", 224) else 0)


@pytest.mark.parametrize("size", SIZES)
def test_the_released_random_patch_is_noise_around_the_means_that_wraps(size: int) -> None:
    """The fact behind BadNet's uniform noise: unclipped levels that overflow the byte cast."""
    data = golden(f"triggers_{size}")
    image, found, side, at = data["image"], data["badnet_random"], int(data["patch_size"]), int(data["badnet_top_left"])
    patch = (slice(None), slice(at, at + side), slice(at, at + side))
    outside = np.ones(image.shape, bool)
    outside[patch] = False
    agree(found[outside], image[outside], 0)
    means = (image.astype(np.float32) / 255).mean((1, 2), keepdims=True)
    levels = np.trunc(255 * (means + data["normal"])).astype(np.int64) % 256
    off = np.abs(levels - found[patch].astype(np.int64))
    assert np.minimum(off, 256 - off).max() <= 1
    assert ((255 * (means + data["normal"])) > 256).any()  # some did wrap


@pytest.mark.parametrize(
    ("item", "variant", "size"), [("triggers_224", "clip", 224), ("triggers_32", "clip", 32), ("wanet_field", None, 32)]
)
def test_wanet_field_from_given_uniforms(
    item: str, variant: str | None, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = golden(item)
    uniform = tiled(data["uniform_tile"], size, axes=(1, 2)) if variant else torch.from_numpy(data["uniform"])
    wanted = tiled(data["field_tile"], size, axes=(0, 1)).numpy() if variant else data["field"]
    monkeypatch.setattr(torch, "rand", lambda *shape, generator: uniform[None].clone())
    attack = WaNet.model_validate({**TARGET, "variant": variant or "original"})
    nothing: Any = None
    agree(attack.fit(nothing, image_size=size, seed=0)["field"], wanted, 2e-6)
