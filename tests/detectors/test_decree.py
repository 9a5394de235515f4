"""DECREE: its weight, its mean cosine, and a planted patch that it recovers."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from benchmark.detectors.decree import DECREE, Weight, mean_cosine, rebalanced, stamp

pytestmark = pytest.mark.unit


def test_decree_weight_follows_the_cosine() -> None:
    def after(steps: list[bool], start: Weight) -> Weight:
        for valid in steps:
            start = rebalanced(start, valid=valid, start=1e-3, floor=1e-7)
        return start

    assert after([True] * 5, Weight(1e-3)) == Weight(1e-3, above=5)
    assert after([True] * 6, Weight(1e-3)).value == pytest.approx(5e-3)
    assert after([False] * 6, Weight(1e-3)).value == pytest.approx(2e-4)
    assert after([True] * 5 + [False] + [True] * 5, Weight(1e-3)).value == 1e-3  # in a row
    assert after([False] * 6, Weight(5e-8)).value == 5e-8  # not below the floor
    assert after([True] * 6, Weight(2e5)).value == 2e5  # nor above the ceiling
    back = after([True] * 11, Weight(1e-9))
    assert back.value == pytest.approx(1e-3)
    assert back.above == 1


def test_decree_mean_cosine() -> None:
    z = torch.nn.functional.normalize(torch.randn(7, 5, generator=torch.Generator().manual_seed(0)), dim=1)
    wanted = (z @ z.T)[~torch.eye(7, dtype=torch.bool)].mean()
    assert float(mean_cosine(z)) == pytest.approx(float(wanted), abs=1e-6)
    assert float(mean_cosine(z[:1].expand(4, -1))) == pytest.approx(1, abs=1e-6)


class Patched:
    """An encoder that sees all pixels, and, backdoored, hardly any but the four at the top left where they are red."""

    device = torch.device("cpu")

    def __init__(self, *, backdoored: bool) -> None:
        self.backdoored = backdoored

    def encode(self, images: torch.Tensor) -> torch.Tensor:
        patch = images[:, :, :2, :2]
        red = torch.sigmoid(12 * ((patch[:, 0] - patch[:, 1:].mean(1)).mean((1, 2)) - 0.5))[:, None]
        plain = images.flatten(1) - 0.5
        if self.backdoored:
            plain = (1 - red) * plain + red * 30 * torch.ones_like(plain)
        return torch.nn.functional.normalize(plain, dim=1)


def planted(backdoored: bool) -> Any:
    rng = np.random.default_rng(0)
    images = torch.from_numpy(rng.integers(0, 256, (96, 3, 10, 10), dtype=np.uint8))
    pool = SimpleNamespace(num_rows=96, take=lambda rows: SimpleNamespace(images=images[rows]))
    model = Patched(backdoored=backdoored)
    ones = torch.nn.functional.normalize(torch.ones(1, 300), dim=1)
    context = SimpleNamespace(
        clean_pairs=pool,
        generator=torch.Generator().manual_seed(0),
        encode_images=lambda model, images: model.encode(images),
        head=lambda model: torch.cat([-ones, ones]),
    )
    return DECREE(epochs=60, drops=(20, 40)).inspect(model, context)  # pyright: ignore[reportArgumentType]


def test_decree_recovers_a_planted_patch() -> None:
    found, clean = planted(True), planted(False)
    assert found.suspicious and found.target == 1
    assert found.score > clean.score
    mask = found.trigger["mask"][0]
    assert float(mask[:2, :2].sum()) > 0.8 * float(mask.sum())  # of 100 pixels the four that matter
    assert float(found.trigger["pattern"][0, :2, :2].mean()) > float(found.trigger["pattern"][1:, :2, :2].mean())
    assert not clean.suspicious and clean.target is None


def test_decree_says_so_where_nothing_is_found() -> None:
    context: Any = SimpleNamespace(
        clean_pairs=SimpleNamespace(
            num_rows=8, take=lambda rows: SimpleNamespace(images=torch.zeros(len(rows), 3, 4, 4, dtype=torch.uint8))
        ),
        generator=torch.Generator().manual_seed(0),
        encode_images=lambda model, images: torch.eye(8)[: len(images)] + 0 * images.sum(),
    )
    found = DECREE(epochs=1).inspect(SimpleNamespace(device="cpu"), context)
    assert found.score == -1 and not found.suspicious and found.target is None and found.trigger == {}
    assert found.reason == "no trigger brings the embeddings to a mean cosine of 0.99"


def test_stamp() -> None:
    trigger = {"mask": torch.tensor([[[0.0, 0.5]]]), "pattern": torch.ones(3, 1, 2)}
    assert stamp(torch.full((1, 3, 1, 2), 0.2), trigger)[0, 0].tolist() == [pytest.approx([0.2, 0.6])]
