"""Further repairs: their parts against hand-computed values, and their direction on the kit's backdoored model."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans
from sklearn.linear_model import LogisticRegression
from torch.nn import functional

from benchmark.models.clip import ClipModel
from benchmark.repairs.heavy_weight_decay import HeavyWeightDecay
from benchmark.repairs.invertune.drift import patch_mask, shift
from benchmark.repairs.invertune.inversion import ssim, stamped
from benchmark.repairs.invertune.repair import InverTune
from benchmark.repairs.invertune.tuning import critical_neurons, critical_stages, moving, released_rate
from benchmark.repairs.par import PAR, PerturbAndRecover, scheduled
from benchmark.repairs.shrink_and_perturb import ShrinkAndPerturb, shrunk
from benchmark.repairs.supervised_fine_tuning import LinearHead, SupervisedFineTuning
from benchmark.repairs.tbar import TBAR, moved
from benchmark.rng import generator
from benchmark.testing import world
from benchmark.testing.repair import run_repair
from benchmark.types import Features, Repair, Training

pytestmark = pytest.mark.unit
SCALE = torch.tensor(7.0)


def before() -> world.Effect:
    return world.effect(world.backdoored().model.clone(), world.backdoored().trigger)


def after(repair: Repair) -> tuple[ClipModel, world.Effect]:
    found = run_repair(repair).model
    return found, world.effect(found, world.backdoored().trigger)


def unit(rows: int, seed: int) -> torch.Tensor:
    return functional.normalize(torch.randn(rows, 6, generator=generator(seed)), dim=1)


def tensors(model: ClipModel) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.network.state_dict().items()}


# --- PAR -------------------------------------------------------------------------------------------------------


def par_features(image: torch.Tensor, text: torch.Tensor) -> Features:
    rows = torch.arange(5)
    return Features(image, text, None, None, SCALE, rows, image_reference=unit(5, 3), text_reference=unit(5, 4))


@pytest.mark.parametrize(("tau", "pushed"), [(4.0, (True, True)), (0.0, (False, False))])
def test_par_subtracts_the_distance_until_tau(tau: float, pushed: tuple[bool, bool]) -> None:
    image, text = unit(5, 1), unit(5, 2)
    found = PerturbAndRecover(tau=tau).loss(par_features(image, text), {})
    logits = (7 * image @ text.T).numpy().astype(float)
    picks = [np.mean([np.log(np.exp(side[i]).sum()) - side[i, i] for i in range(5)]) for side in (logits, logits.T)]
    far = [
        np.mean([((a[i] - b[i]) ** 2).sum() for i in range(5)]) for a, b in ((image, unit(5, 3)), (text, unit(5, 4)))
    ]
    expected = np.mean(picks) - sum(float(d) for d, push in zip(far, pushed, strict=True) if push) / 2
    assert float(found.total) == pytest.approx(expected, rel=1e-5)


def test_par_switches_each_side_off_alone_and_then_gives_no_gradient() -> None:
    near = functional.normalize(unit(5, 3) + 0.01 * unit(5, 1), dim=1).requires_grad_()
    away = (-unit(5, 4)).requires_grad_()  # distance 4
    found = PerturbAndRecover(tau=2.15).loss(par_features(near, away), {})
    terms = {name: float(value.detach()) for name, value in found.terms.items()}
    assert terms["text_distance"] == pytest.approx(4.0, rel=1e-5)
    assert float(found.total.detach()) == pytest.approx(terms["mmcl"] - terms["image_distance"] / 2, rel=1e-5)


def test_par_rate_is_a_line_and_then_a_cosine() -> None:
    shares = (0.0, 0.25, 0.5, 0.75)
    expected = (3e-5, 1.65e-5, 3e-6, (3e-6 + 1e-9) / 2)
    assert [scheduled(share, 3e-5, 3e-6, 1e-9) for share in shares] == pytest.approx(expected, rel=1e-9)
    assert scheduled(0.999999, 3e-5, 3e-6, 1e-9) == pytest.approx(1e-9, rel=1e-2)

    class Planning:
        training = Training(epochs=4, learning_rate=3e-5)

    (one,) = PerturbAndRecover().plan(2, {}, Planning()).passes  # type: ignore[arg-type]
    assert callable(one.learning_rate) and one.learning_rate(0.0) == pytest.approx(3e-6)  # half of four epochs
    assert one.trainable is not None and not one.trainable("logit_scale") and one.trainable("visual.conv1.weight")
    assert one.augmentations["image"] == "noise_cutout" and "text" not in one.augmentations


def test_par_lowers_asr_and_keeps_accuracy() -> None:
    small: dict[str, Any] = {"batch_size": 64, "epochs": 16, "learning_rate": 2e-3, "middle_rate_share": 0.3}
    model, found = after(PAR(**small, augmentation="none"))
    assert found.asr < before().asr - 0.5
    assert found.accuracy > before().accuracy - 0.08
    assert torch.equal(model.logit_scale(), world.backdoored().model.logit_scale())


# --- InverTune -------------------------------------------------------------------------------------------------


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


SHORT_INVERSION: dict[str, Any] = {"patches": 3, "patch_steps": 30, "inversion_steps": 60, "inversion_rate": 0.05}


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
    quick: dict[str, Any] = {"patch_steps": 1, "inversion_steps": 30, "inversion_rate": 0.05, "mask_weight": 1e6}
    found = run_repair(InverTune(**quick, epochs=1, learning_rate=1e-2, accept_rate=0.7)).model
    moved_too = run_repair(InverTune(**quick, epochs=1, learning_rate=1e-2, variant="as_released")).model
    old, new = tensors(world.backdoored().model), tensors(found)
    assert all(torch.equal(old[name], new[name]) for name in old)
    assert any(not torch.equal(old[name], value) for name, value in tensors(moved_too).items())


# --- TBAR ------------------------------------------------------------------------------------------------------


def test_moved_subtracts_the_task_vector_from_parameters_only() -> None:
    model, towards = world.fresh_model(), world.fresh_model()
    with torch.no_grad():
        for parameter in towards.network.parameters():
            parameter.add_(0.5)
        towards.network.visual.bn1.running_mean.add_(1)  # type: ignore[union-attr,operator]
    found, old = tensors(moved(model, towards, 2.0)), tensors(model)
    names = {name for name, _ in model.network.named_parameters()}
    for name, value in found.items():
        expected = old[name] - 1.0 if name in names else old[name]
        assert torch.allclose(value.float(), expected.float(), atol=1e-5), name


def test_tbar_lowers_asr_within_its_budget() -> None:
    model, found = after(TBAR(learning_rate=1e-4, budget=0.08))
    assert found.asr < before().asr - 0.4
    assert found.accuracy > before().accuracy * (1 - 0.08) - 0.05  # chosen on half of the clean pairs
    old, new = tensors(world.backdoored().model), tensors(model)
    assert all(torch.equal(old[name], new[name]) for name in old if not name.startswith("visual."))


# --- Shrink-and-perturb, heavy weight decay ----------------------------------------------------------------------


class Drawing:
    """The part of a context that `shrunk` uses."""

    def __init__(self) -> None:
        self.generator = generator(5)


def test_shrunk_scales_every_parameter_and_adds_noise() -> None:
    model = world.fresh_model()
    plain: dict[str, torch.Tensor] = dict(shrunk(model, 0.95, 0.0, Drawing()).network.named_parameters())  # type: ignore[arg-type]
    noisy: dict[str, torch.Tensor] = dict(shrunk(model, 0.95, 1e-2, Drawing()).network.named_parameters())  # type: ignore[arg-type]
    for name, parameter in model.network.named_parameters():
        assert torch.allclose(plain[name], 0.95 * parameter)
    added = torch.cat([(noisy[name] - plain[name]).flatten() for name in plain]).detach()
    assert float(added.std()) == pytest.approx(1e-2, rel=0.02)
    assert abs(float(added.mean())) < 1e-3


CLEANING: dict[str, Any] = {"batch_size": 64, "warmup_steps": 4, "learning_rate": 1e-3}


def test_the_inherited_state_undoes_the_decay_and_a_fresh_one_takes_it() -> None:
    def norm(variant: Any, decay: float) -> float:
        repair = HeavyWeightDecay(**CLEANING, epochs=1, variant=variant, weight_decay=decay)
        found: Any = run_repair(repair).model.network.visual
        return float(found.layer4[0].conv3.weight.detach().norm())

    assert norm("as_released", 0.2) == norm("as_released", 50.0)
    assert norm("as_intended", 50.0) < 0.95 * norm("as_intended", 0.2)


@pytest.mark.parametrize(
    "repair",
    [ShrinkAndPerturb(**CLEANING, epochs=8), HeavyWeightDecay(**CLEANING, epochs=15, weight_decay=30.0)],
    ids=lambda repair: repair.name,
)
def test_shrinking_repairs_lower_asr_and_keep_accuracy(repair: Repair) -> None:
    _, found = after(repair)
    assert found.asr < before().asr - 0.2
    assert found.accuracy > before().accuracy - 0.08


# --- Supervised fine-tuning --------------------------------------------------------------------------------------


def test_linear_head_is_cross_entropy_of_a_linear_layer() -> None:
    head = LinearHead(num_classes=3)
    parameters = head.initial_parameters(embed_dim=6, seed=1)
    assert parameters["head_weight"].shape == (3, 6) and parameters["head_bias"].shape == (3,)
    assert float(torch.cat([value.flatten() for value in parameters.values()]).abs().max()) <= 1 / math.sqrt(6)
    image, labels = unit(5, 1), torch.tensor([0, 1, 2, 1, 0])
    features = Features(image, None, None, None, SCALE, torch.arange(5), labels=labels, parameters=parameters)
    logits = (7 * image @ parameters["head_weight"].T + parameters["head_bias"]).numpy().astype(float)
    expected = np.mean([np.log(np.exp(row).sum()) - row[k] for row, k in zip(logits, labels.tolist(), strict=True)])
    assert float(head.loss(features, {}).total) == pytest.approx(expected, rel=1e-5)


def probe(model: ClipModel) -> world.Effect:
    """Accuracy and ASR of a probe on the clean pairs, the read-out nearest to the published head."""
    trigger, clean, test = world.backdoored().trigger, world.clean_pairs(), world.held_out()
    other = test.labels != trigger.target
    assert trigger.apply is not None and clean.labels is not None

    @torch.no_grad()
    def features(images: torch.Tensor) -> np.ndarray:
        return model.eval().encode_images(images).numpy()

    fitted = LogisticRegression(C=100, max_iter=2000).fit(
        features(clean.take(np.arange(clean.num_rows)).images), clean.labels
    )
    hit = fitted.predict(features(trigger.apply(test.images[other], test.ids[other]))) == trigger.target
    return world.Effect(float(fitted.score(features(test.images), test.labels)), float(hit.mean()))


def test_supervised_fine_tuning_cleans_what_a_probe_reads_and_moves_the_image_tower_alone() -> None:
    repair = SupervisedFineTuning(batch_size=64, warmup_steps=4, epochs=20, learning_rate=1e-3)
    model, found = after(repair)
    start, end = probe(world.backdoored().model.clone()), probe(model)
    assert end.asr < start.asr - 0.5
    assert end.accuracy > start.accuracy - 0.02
    assert found.accuracy > before().accuracy - 0.08  # zero-shot with the old text tower
    old, new = tensors(world.backdoored().model), tensors(model)
    changed = {name for name in old if not torch.equal(old[name], new[name])}
    assert changed and all(name.startswith("visual.") for name in changed)
