"""Scores of detectors, and what they are made of, against released code."""

from __future__ import annotations

from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.nn import functional

from benchmark.detectors._density import DensityFilter, Reference, surroundings
from benchmark.detectors.bdetclip import BDetCLIP, class_means
from benchmark.detectors.dao import DAO
from benchmark.detectors.decree import Weight, mean_cosine, rebalanced
from benchmark.detectors.slof import SLOF
from benchmark.detectors.strip import STRIP
from tests.parity.golden import agree, golden

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("reference", ["images", "images_and_captions"])
@pytest.mark.parametrize("cls", [SLOF, DAO])
def test_density_scores_are_those_of_the_released_detectors(cls: type[DensityFilter], reference: Reference) -> None:
    data = golden("density")
    images, captions = (torch.from_numpy(data[name]) for name in ("images", "captions"))
    texts = captions if reference == "images_and_captions" else None
    around = surroundings(images, int(data["neighbours"]), indexing="released", captions=texts)
    agree(cls().score(around), data[f"{cls.name}_{reference}"], 2e-5)


@pytest.mark.parametrize("name", ["", "_close"])
def test_decree_mean_cosine(name: str) -> None:
    data = golden("decree")
    embeddings = functional.normalize(torch.from_numpy(data[f"embeddings{name}"]), dim=1)
    agree(mean_cosine(embeddings), data[f"mean_cosine{name}"], 1e-6)


@pytest.mark.parametrize("at", range(6))
def test_decree_weight_of_the_mask_over_400_steps(at: int) -> None:
    data = golden("decree")
    start, floor = data["start_floor"]
    weight, found = Weight(float(start)), []
    for cosine in data["cosines"][at]:
        weight = rebalanced(weight, valid=cosine > data["goal"], start=float(start), floor=float(floor))
        found.append(weight.value)
    relative = torch.tensor(found, dtype=torch.float64) / torch.from_numpy(data["weights"][at])
    agree(relative, relative.new_ones(400).numpy(), 1e-12)
    assert any(a != b for a, b in pairwise(found))  # it moves


@pytest.mark.parametrize("at", range(2))
def test_strip_entropy_at_two_weights_of_the_overlay(at: int) -> None:
    data = golden("strip")
    mean, std, linear = (torch.from_numpy(data[name]) for name in ("mean", "std", "linear"))

    def encode(model: Any, images: torch.Tensor) -> torch.Tensor:
        return ((images - mean.view(3, 1, 1)) / std.view(3, 1, 1)).flatten(1) @ linear

    state = {"overlays": torch.from_numpy(data["overlays"]), "head": torch.eye(10), "scale": torch.tensor(1.0)}
    ctx: Any = SimpleNamespace(encode_images=encode)
    detector = STRIP(weight=float(data["alphas"][at]), num_overlays=9, blend="additive")
    scores = detector.score(SimpleNamespace(mean=mean), torch.from_numpy(data["images"]), state, ctx)
    agree(-scores, data["entropies"][at], 2e-5)


def encoded(texts: list[torch.Tensor]) -> torch.Tensor:
    """Stands in for a text tower: a text is its own embedding."""
    return functional.normalize(torch.stack(texts), dim=1)


def text_means(texts: torch.Tensor) -> torch.Tensor:
    """(C, T, D) raw embeddings of texts -> (C, D), through `class_means`."""
    model: Any = SimpleNamespace(encode_captions=encoded)
    each: Any = [list(one) for one in texts]
    return class_means(model, each)


@pytest.mark.parametrize("kind", ["benign", "malignant"])
def test_bdetclip_class_means(kind: str) -> None:
    data = golden("bdetclip")
    agree(text_means(torch.from_numpy(data[f"{kind}_texts"])), data[f"class_{kind}"], 1e-6)


def test_bdetclip_score_is_minus_omega() -> None:
    data = golden("bdetclip")
    benign, malignant = (text_means(torch.from_numpy(data[f"{kind}_texts"])) for kind in ("benign", "malignant"))
    ctx: Any = SimpleNamespace(encode_images=lambda model, images: functional.normalize(images, dim=1))
    state = {"direction": (benign - malignant).sum(0)}
    agree(-BDetCLIP().score(None, torch.from_numpy(data["images"]), state, ctx), data["omega"], 2e-6)
