"""Losses and their gradients, against released code."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch.nn import functional

from benchmark.objectives._memory_bank import nearest, new_bank
from benchmark.objectives.abl import ABL, pair_losses
from benchmark.objectives.mmcl import MMCL
from benchmark.objectives.mmcl_ssl import MMCLSSL
from benchmark.objectives.roclip import RoCLIP
from benchmark.objectives.safeclip import SafeCLIP
from benchmark.objectives.siglip import SigLIP
from benchmark.repairs.par import PerturbAndRecover
from benchmark.types import Features, Loss, State
from tests.parity.golden import Batch, Golden, agree, golden, leaf

pytestmark = pytest.mark.unit


class Case(NamedTuple):
    """One loss of one file."""

    item: str
    prefix: str  # of the arrays
    loss: Callable[[Features, State], Loss]
    value_within: float
    gradient_within: float
    banks: tuple[str, ...] = ()  # state of the objective: array `bank` or `bank_<name>`


CASES = (
    Case("mmcl", "mmcl", MMCL().loss, 1e-5, 1e-6),
    Case("roclip", "matched", RoCLIP().matched, 1e-5, 2e-6, banks=("captions",)),
    Case("roclip", "plain", MMCL().loss, 1e-5, 2e-6),
    Case("safeclip_losses", "unimodal", SafeCLIP().unimodal, 1e-5, 2e-6, banks=("images", "texts")),
    Case("safeclip_losses", "crossmodal", SafeCLIP().crossmodal, 1e-5, 2e-6, banks=("images", "texts")),
)


def banks(case: Case, data: Golden) -> State:
    """The memory banks before the batch."""
    names = {name: "bank" if case.item == "roclip" else f"bank_{name}" for name in case.banks}
    return {name: torch.from_numpy(data[array]) for name, array in names.items()}


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.item}-{case.prefix}")
def test_a_loss_and_its_gradients_are_those_of_the_released_code(case: Case) -> None:
    data = golden(case.item)
    batch = Batch(data)
    loss = case.loss(batch.features, banks(case, data))
    agree(loss.total, data[f"{case.prefix}_value"], case.value_within)
    for name, gradient in batch.gradients(loss).items():
        if f"{case.prefix}_grad_{name}" in data:
            agree(gradient, data[f"{case.prefix}_grad_{name}"], case.gradient_within)


@pytest.mark.parametrize("at", range(3))
def test_mmcl_with_ssl_at_three_pairs_of_weights(at: int) -> None:
    data = golden("mmcl")
    batch = Batch(data)
    mmcl_weight, ssl_weight = data["ssl_weights"][at]
    loss = MMCLSSL(mmcl_weight=mmcl_weight, ssl_weight=ssl_weight).loss(batch.features, {})
    agree(loss.total, data["ssl_values"][at], 2e-5)
    for name, gradient in batch.gradients(loss).items():
        agree(gradient, data[f"ssl_grad_{name}"][at], 2e-5)


def test_siglip_learns_its_temperature_and_bias_as_released() -> None:
    data = golden("siglip")
    leaves = {name: leaf(data[name]) for name in ("image", "text", "log_temperature", "logit_bias")}
    own = {name: leaves[name] for name in ("log_temperature", "logit_bias")}
    features = Features(
        leaves["image"], leaves["text"], None, None, torch.tensor(1.0), torch.arange(24), parameters=own
    )
    total = SigLIP().loss(features, {}).total
    agree(total, data["value"], 1e-5)
    for name, gradient in zip(leaves, torch.autograd.grad(total, list(leaves.values())), strict=True):
        agree(gradient, data[f"grad_{name}"], 1e-5)


@pytest.mark.parametrize("at", range(2))
def test_par_pushes_from_the_reference_up_to_tau(at: int) -> None:
    data = golden("par")
    raw = [leaf(data[f"{side}_raw"]) for side in ("image", "text")]
    image, text = (functional.normalize(side, dim=1) for side in raw)
    references = (torch.from_numpy(data[f"{side}_reference"]) for side in ("image", "text"))
    scale = torch.tensor(float(data["scale"]))
    features = Features(image, text, None, None, scale, torch.arange(24), *references)
    tau = float(data["taus"][at])
    loss = PerturbAndRecover(tau=tau).loss(features, {})
    agree(loss.total, data["values"][at], 1e-5)
    terms = [loss.terms[name] for name in ("mmcl", "image_distance", "text_distance")]
    cut = [terms[0], *(term * (term <= tau) for term in terms[1:])]
    agree(torch.stack(cut), data["parts"][at], 1e-5)
    for side, gradient in zip(("image", "text"), torch.autograd.grad(loss.total, raw), strict=True):
        agree(gradient, data[f"grad_{side}_raw"][at], 1e-6)


def test_roclip_asks_its_bank_before_it_pushes_the_batch_in() -> None:
    data = golden("roclip")
    batch = Batch(data)
    found = nearest(batch.leaves["image"], torch.from_numpy(data["bank"]))
    agree(found, data["matched_captions"], 0)
    after = RoCLIP().matched(batch.features, {"captions": torch.from_numpy(data["bank"])}).state["captions"]
    # the released bank is a ring; ours has the oldest first
    agree(after, np.roll(data["bank_after"], -int(data["bank_pointer_after"][0]), axis=0), 0)


def test_a_new_bank_is_of_norm_one_where_the_released_one_is_not() -> None:
    """The difference that `_memory_bank` names: lightly 1.2.39 throws the normalised bank away."""
    released = golden("roclip")["initial_norms"]
    assert 4 < released.mean() < 7  # about sqrt(32)
    agree(new_bank(96, 32, seed=0).norm(dim=1), np.ones(96), 1e-6)


@pytest.mark.parametrize("name", ["images", "texts"])
def test_safeclip_pushes_first_views_into_its_banks(name: str) -> None:
    data = golden("safeclip_losses")
    state = {side: torch.from_numpy(data[f"bank_{side}"]) for side in ("images", "texts")}
    after = SafeCLIP().unimodal(Batch(data).features, state).state[name]
    agree(after, np.roll(data[f"bank_{name}_after"], -24, axis=0), 0)


@pytest.mark.parametrize("at", range(2))
def test_abl_floods_ten_pairs_at_gamma(at: int) -> None:
    data = golden("abl")
    image, text = leaf(data["image"]), leaf(data["text"])
    features = Features(image, text, None, None, torch.tensor(float(data["scale"])), torch.arange(10))
    agree(pair_losses(features).mean(), data["plain_value"], 1e-6)
    level = float(data["levels"][at])
    total = ABL(gamma=level).flooded(features, {"scores": torch.zeros(10)}).total
    agree(total, data["flooding_values"][at], 1e-6)
    for side, gradient in zip(("image", "text"), torch.autograd.grad(total, (image, text)), strict=True):
        agree(gradient, data[f"flooding_grad_{side}"][at], 1e-6)
        agree(gradient, data[f"ascent_grad_{side}"][at], 1e-6)  # local gradient ascent: another value, this gradient
