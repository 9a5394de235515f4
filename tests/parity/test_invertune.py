"""InverTune's inversion and tuning, against released code."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from benchmark.repairs.invertune.inversion import Goal, Weights, _missed, ssim, stamped
from benchmark.repairs.invertune.tuning import between_means, critical_neurons
from tests.parity.golden import Golden, agree, golden, leaf

pytestmark = pytest.mark.unit
MOST_OTHERWISE = 0.01  # the released k-means starts at random and stops early
TERMS = ("target", "embedding", "ssim", "mask")
WITHIN = {"target": 1e-5, "embedding": 1e-5, "ssim": 1e-5}


@pytest.fixture(scope="module")
def data() -> Golden:
    return golden("invertune")


class Terms:
    """The four terms of one inversion step; mask and pattern are leaves."""

    def __init__(self, data: Golden) -> None:
        self.mask, self.pattern = leaf(data["mask"]), leaf(data["pattern"])
        images, encoder, head = (torch.from_numpy(data[name]) for name in ("images", "encoder", "head"))
        shown = stamped(images, self.mask, self.pattern)
        features = functional.normalize(shown.flatten(1) @ encoder, dim=1)
        goal = Goal(int(data["target"]), torch.from_numpy(data["target_embedding"]), head)
        temperature = float(data["temperature"])
        self.values = {
            "target": _missed(features, goal, Weights(1, 0, 0, 0, temperature)),
            "embedding": _missed(features, goal, Weights(0, 1, 0, 0, temperature)),
            "ssim": 1 - ssim(shown, images),
            "mask": self.mask.abs().sum(),
        }


def test_structural_similarity(data: Golden) -> None:
    a, b = (torch.from_numpy(data[name]) for name in ("ssim_a", "ssim_b"))
    agree(ssim(a, b), data["ssim_value"], 1e-6)


@pytest.mark.parametrize(("at", "term"), list(enumerate(TERMS)))
def test_each_term_of_the_inversion(at: int, term: str, data: Golden) -> None:
    wanted = data["term_values"][at]
    agree(Terms(data).values[term], wanted, WITHIN.get(term, 1e-5 * float(wanted)))


def test_the_weighted_inversion_and_its_gradients(data: Golden) -> None:
    terms = Terms(data)
    weighted = [float(weight) * terms.values[name] for weight, name in zip(data["weights"], TERMS, strict=True)]
    total = torch.stack(weighted).sum()
    agree(total, data["total_value"], 5e-5)
    for name, gradient in zip(
        ("mask", "pattern"), torch.autograd.grad(total, (terms.mask, terms.pattern)), strict=True
    ):
        agree(gradient, data[f"grad_{name}"], 1e-5)


@pytest.mark.parametrize("at", range(4))
def test_critical_neurons_are_the_upper_cluster(at: int, data: Golden) -> None:
    change, released = torch.from_numpy(data["change"][at]), data["critical"][at]
    found = critical_neurons(change).numpy()
    agree((found != released).mean(), np.zeros(()), MOST_OTHERWISE)
    values = data["change"][at].astype(np.float64)
    inertia = sum(((values[side] - values[side].mean()) ** 2).sum() for side in (found, ~found))
    assert inertia <= data["critical_inertia"][at] + 1e-9  # the optimum, which the released search may miss


def test_released_alignment_and_its_gradients(data: Golden) -> None:
    clean, triggered = leaf(data["clean_activations"]), leaf(data["triggered_activations"])
    names = ("first", "second")
    now, before = (dict(zip(names, side, strict=True)) for side in (triggered, clean))
    neurons = dict(zip(names, torch.from_numpy(data["neurons"]), strict=True))
    value: Any = between_means(now, before, neurons)
    agree(value, data["alignment_value"], 1e-6)
    for name, gradient in zip(("triggered", "clean"), torch.autograd.grad(value, (triggered, clean)), strict=True):
        agree(gradient, data[f"alignment_grad_{name}"], 1e-6)
