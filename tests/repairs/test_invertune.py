"""InverTune: its inversion, critical neurons and drift against slow computations, and its direction."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans

from benchmark.repairs.invertune.drift import patch_mask, shift
from benchmark.repairs.invertune.inversion import ssim, stamped
from benchmark.repairs.invertune.repair import InverTune
from benchmark.repairs.invertune.tuning import critical_neurons, critical_stages, moving, released_rate
from benchmark.rng import generator
from benchmark.testing import world
from benchmark.testing.repair import run_repair
from tests.helpers.repairs import after, before
from tests.helpers.tiny import tensors

pytestmark = pytest.mark.unit


def slow_ssim(a: np.ndarray, b: np.ndarray) -> float:
    line = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
    window = np.outer(line, line) / np.outer(line, line).sum()
    found = []
    for x, y in ((p, q) for m, n in zip(a, b, strict=True) for p, q in zip(m, n, strict=True)):
        for i in range(x.shape[0] - 10):
            for j in range(x.shape[1] - 10):
                u, v = x[i : i + 11, j : j + 11], y[i : i + 11, j : j + 11]
                mu, mv = (window * u).sum(), (window * v).sum()
                su, sv = (window * (u - mu) ** 2).sum(), (window * (v - mv) ** 2).sum()
                suv = (window * (u - mu) * (v - mv)).sum()
                top = (2 * mu * mv + 1e-4) * (2 * suv + 9e-4)
                found.append(top / ((mu**2 + mv**2 + 1e-4) * (su + sv + 9e-4)))
    return float(np.mean(found))


def test_ssim_is_the_mean_over_windows() -> None:
    a = torch.rand(2, 3, 14, 13, generator=generator(1))
    b = (a + 0.2 * torch.rand(a.shape, generator=generator(2))).clamp(0, 1)
    assert float(ssim(a, b)) == pytest.approx(slow_ssim(a.numpy().astype(float), b.numpy().astype(float)), rel=1e-4)
    assert float(ssim(a, a)) == pytest.approx(1.0, abs=1e-5)


def test_critical_neurons_are_the_upper_cluster_of_k_means() -> None:
    change = torch.rand(6, 4, 4, generator=generator(3)).exp() ** 3
    labels = KMeans(2, random_state=0).fit_predict(change.flatten().numpy()[:, None])
    upper = labels == np.argmax([change.flatten().numpy()[labels == k].mean() for k in (0, 1)])
    assert np.array_equal(critical_neurons(change).flatten().numpy(), upper)


def test_critical_stages() -> None:
    impacts = {"layer1": 0.1, "layer2": 0.1, "layer3": 0.2, "layer4": 0.9}  # mean 0.325, deviation 0.334
    assert critical_stages(impacts, count=None) == ["layer4"]
    assert critical_stages(impacts, count=2) == ["layer4", "layer3"]
    assert critical_stages({"a": 1.0, "b": 1.0}, count=None) == ["a"]


def test_only_rows_of_critical_channels_move() -> None:
    model = world.fresh_model()
    width = int(model.network.visual.layer4[0].conv3.weight.shape[0])  # type: ignore[index,union-attr]
    where = torch.zeros(width, 1, 1, dtype=torch.bool)
    where[3] = True
    found = moving(model, {"layer4": where})
    assert found and all(
        len(part.parameter) == width and part.rows is not None and part.rows.sum() == 1 for part in found
    )
    assert len(moving(model, {})) == len(list(model.network.visual.parameters()))  # type: ignore[union-attr]


def test_shift_is_the_rise_of_each_share() -> None:
    before, after = torch.tensor([0, 0, 1, 2]), torch.tensor([2, 2, 1, 2])
    assert shift(before, after, 4).tolist() == pytest.approx([-0.5, 0, 0.5, 0])


def test_patch_lies_near_the_lower_right_corner() -> None:
    mask = patch_mask(32, 0.03)[0]  # a side of 5.5 pixels, a margin of 2
    assert mask.sum() == 36 and bool((mask[24:30, 24:30] == 1).all())


def test_released_rate_climbs_again() -> None:
    rates = [released_rate(2e-6, epoch, 200) for epoch in (0, 50, 100, 200)]
    assert rates == pytest.approx([2e-6, (2e-6 + 1e-7) / 2, 1e-7, 2e-6])


def test_stamped() -> None:
    mask, pattern = torch.tensor([[[0.0, 0.25]]]), torch.tensor([[[1.0, 1.0]]])
    assert stamped(torch.full((1, 3, 1, 2), 0.2), mask, pattern)[0, 0, 0].tolist() == pytest.approx([0.2, 0.4])


SHORT_INVERSION: dict[str, Any] = {
    "patches": 3,
    "patch_steps": 30,
    "inversion_steps": 60,
    "inversion_learning_rate": 0.05,
}


def test_invertune_finds_the_target_and_lowers_asr(monkeypatch: pytest.MonkeyPatch) -> None:
    from benchmark.contexts.repair import GatedRepairContext

    noted: dict[str, Any] = {}
    monkeypatch.setattr(GatedRepairContext, "note", lambda self, **found: noted.update(found))
    tuning: dict[str, Any] = {"epochs": 15, "learning_rate": 3e-3, "preserve_weight": 0.05}
    model, found = after(InverTune(**SHORT_INVERSION, **tuning))
    assert noted["target"] == "square"
    assert noted["inverted_asr"] > 0.7
    assert noted["mask"].shape == (3, 32, 32) and 0 <= float(noted["mask"].min()) <= float(noted["mask"].max()) <= 1
    assert found.asr < before().asr - 0.25
    assert found.accuracy > before().accuracy - 0.08
    old, new = tensors(world.backdoored().model), tensors(model)
    changed = {name for name in old if not torch.equal(old[name], new[name])}
    assert changed and all(name.startswith("visual.layer") for name in changed)


def test_invertune_leaves_the_model_alone_where_inversion_fails() -> None:
    # so heavy a mask weight that nothing of the trigger is left
    quick: dict[str, Any] = {
        "patch_steps": 1,
        "inversion_steps": 30,
        "inversion_learning_rate": 0.05,
        "mask_weight": 1e6,
    }
    found = run_repair(InverTune(**quick, epochs=1, learning_rate=1e-2, accept_rate=0.7)).model
    moved_too = run_repair(InverTune(**quick, epochs=1, learning_rate=1e-2, variant="as_released")).model
    old, new = tensors(world.backdoored().model), tensors(found)
    assert all(torch.equal(old[name], new[name]) for name in old)
    assert any(not torch.equal(old[name], value) for name, value in tensors(moved_too).items())
