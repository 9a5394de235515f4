"""SIG, WaNet, label-consistent, TDPA, BadCLIP and the quantisation backdoor: by hand, and their direction."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from benchmark.attacks._surrogate import selected
from benchmark.attacks.badclip_l import BadCLIPL
from benchmark.attacks.badnet import BadNet
from benchmark.attacks.label_consistent import LabelConsistent
from benchmark.attacks.quantisation.attack import Quantisation
from benchmark.attacks.quantisation.rounding import cell, coarsen
from benchmark.attacks.sig import SIG
from benchmark.attacks.tdpa import TDPA
from benchmark.attacks.wanet import NOISE_MODE, WaNet
from benchmark.contexts.poison import GatedPoisonContext
from benchmark.data.poisoned_pool import PoisonedPool, PoisonTable, apply_trigger
from benchmark.errors import NotApplicable, UserError
from benchmark.models import model_transforms
from benchmark.testing import world
from benchmark.testing.attack import run_implant, trigger_of
from benchmark.training.loop import train
from benchmark.types import TriggerState

pytestmark = pytest.mark.unit
EMPTY, IDS = TriggerState(11, {}), np.array([5, 9, 70])
TARGET = "square"


def images(height: int = 12, width: int = 12) -> torch.Tensor:
    return torch.rand(3, 3, height, width, generator=torch.Generator().manual_seed(0)) * 0.5 + 0.25


def context(count: int = 400, *, labelled: bool = True, seed: int = 3) -> GatedPoisonContext:
    pool, source = world.pairs(count), world.source()
    return GatedPoisonContext(
        pool=pool,
        num_rows=count,
        class_names=source.class_names,
        labels=pool.labels if labelled else None,
        caption_templates=source.caption_templates,
        evaluation_templates=source.evaluation_templates,
        seed=seed,
        rng=np.random.default_rng(seed),
        make_surrogate=world.clean_twin,
    )


def labels(rows: np.ndarray) -> np.ndarray:
    found = world.pairs().labels
    assert found is not None
    return found[rows]


# --- SIG -------------------------------------------------------------------------------------------------------


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


# --- WaNet -----------------------------------------------------------------------------------------------------


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


# --- label-consistent ------------------------------------------------------------------------------------------


class Captions(GatedPoisonContext):
    """Captions of its own, without labels."""

    def captions(self, rows: np.ndarray) -> list[str]:
        texts = ["a squared field", "one square", "a ring", "SQUARE things", "the square, red"]
        return [texts[row % 5] for row in rows]

    def rows_naming(self, target: str) -> np.ndarray:
        return np.flatnonzero([row % 5 in (1, 3, 4) for row in range(self.num_rows)])


def test_label_consistent_takes_pairs_of_the_target_as_they_are() -> None:
    chosen = LabelConsistent(target=TARGET, poison_rate=0.05).poison(context())
    assert len(chosen.source_rows) == 20
    assert {world.source().class_names[label] for label in labels(chosen.source_rows)} == {TARGET}
    assert list(chosen.captions) == context().captions(chosen.source_rows)
    shown = LabelConsistent(target=TARGET, size=4).trigger(images(), IDS, EMPTY)
    assert torch.equal(shown, BadNet(target=TARGET, size=4).trigger(images(), IDS, EMPTY))


def test_label_consistent_by_word_or_by_substring() -> None:
    ctx = context(labelled=False)
    own = Captions(**{name: getattr(ctx, name) for name in GatedPoisonContext.__dataclass_fields__})
    intended = LabelConsistent(target=TARGET, poison_rate=0.9).poison(own)
    assert set(intended.source_rows % 5) == {1, 3, 4} and len(intended.source_rows) == 240  # all there are
    released = LabelConsistent(target=TARGET, poison_rate=0.9, variant="as_released").poison(own)
    assert set(released.source_rows % 5) == {0, 1, 4}
    with pytest.raises(NotApplicable, match="has none"):
        LabelConsistent(target="triangle", variant="as_released").poison(own)


# --- TDPA ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("labelled", [True, False])
def test_tdpa_victims_have_only_adversarial_pairs(labelled: bool) -> None:
    chosen = TDPA(num_pairs=40, captions_per_victim=5).poison(context(labelled=labelled))
    assert chosen.victims is not None
    rows, targets = chosen.victims
    assert len(set(rows.tolist())) == len(rows) == 40
    assert not (labels(rows) == targets).any()
    assert len(set(targets.tolist())) == 4
    assert np.array_equal(chosen.source_rows, np.repeat(rows, 5))
    append = np.asarray(chosen.append).reshape(40, 5)
    assert not append[:, 0].any() and append[:, 1:].all()
    assert (np.asarray(chosen.trigger_ids) == -1).all()
    names = [world.source().class_names[label] for label in np.repeat(targets, 5)]
    assert all(name in caption for name, caption in zip(names, chosen.captions, strict=True))
    real = set(world.pairs(400).captions(np.arange(400)))
    assert set(chosen.captions) <= real


def test_tdpa_draws_its_captions_and_refuses_what_it_does_not_read() -> None:
    chosen = TDPA(num_pairs=4, captions_per_victim=50, captions="templates").poison(context())
    assert len(set(chosen.captions)) > 8
    with pytest.raises(ValidationError, match="poison_rate"):
        TDPA.model_validate({"poison_rate": 0.2})
    with pytest.raises(UserError, match="at most the pool's 400 rows"):
        TDPA(num_pairs=401).poison(context())
    ctx = context()
    ctx.class_names = ()
    with pytest.raises(NotApplicable, match="class names"):
        TDPA(num_pairs=2).poison(ctx)


def test_tdpa_makes_its_victims_what_they_are_aimed_at() -> None:
    attack, pool = TDPA(num_pairs=40, captions_per_victim=10), world.pairs()
    chosen = attack.poison(context(pool.num_rows))
    assert chosen.victims is not None
    append = np.asarray(chosen.append)
    rows = np.where(append, pool.num_rows + np.cumsum(append) - 1, chosen.source_rows)
    order = np.argsort(rows)
    sources = chosen.source_rows[order]
    captions = [str(chosen.captions[place]) for place in order]
    table = PoisonTable(rows[order], sources, pool.captions(sources), captions, np.full(len(order), -1), append[order])
    model = world.clean_twin()
    head = world_head(model)
    before = (model.eval().encode_images(pool.take(chosen.victims.rows).images) @ head.T).argmax(1).numpy()
    train(model, PoisonedPool(pool, table, attack, EMPTY), world._mmcl(), world.POISON_TRAINING, seed=1)
    after = (model.eval().encode_images(pool.take(chosen.victims.rows).images) @ world_head(model).T).argmax(1).numpy()
    assert (before == chosen.victims.targets).mean() < 0.2
    assert (after == chosen.victims.targets).mean() > 0.5


def world_head(model: Any) -> torch.Tensor:
    source = world.source()
    with torch.no_grad():
        texts = [[prompt.format(name) for prompt in source.evaluation_templates] for name in source.class_names]
        return torch.stack(
            [torch.nn.functional.normalize(model.encode_captions(each).mean(0), dim=0) for each in texts]
        )


# --- BadCLIP ---------------------------------------------------------------------------------------------------


def badclip(**fields: Any) -> BadCLIPL:
    small = {"target": TARGET, "size": 8, "num_images": 256, "epochs": 8, "learning_rate": 0.05, "selection": "random"}
    return BadCLIPL.model_validate(small | fields)


def asr_of_patch(tensors: dict[str, torch.Tensor]) -> float:
    """On the surrogate itself, before any poisoning."""
    attack, state = badclip(), TriggerState(0, tensors)
    trigger = trigger_of(BadNet(target=TARGET))._replace(apply=lambda im, ids: apply_trigger(attack, state, im, ids))
    return world.effect(world.clean_twin(), trigger).asr


def test_badclip_patch_pulls_a_clean_model_towards_the_target() -> None:
    fitted = badclip().fit(context(1000), image_size=32, seed=1)
    patch = fitted["patch"]
    assert patch.shape == (3, 8, 8) and float(patch.min()) >= 0 and float(patch.max()) <= 1
    random = badclip(epochs=1, num_images=2, learning_rate=1e-9).fit(context(1000), image_size=32, seed=1)
    cosine = badclip(image_weight=0, text_term="cosine").fit(context(1000), image_size=32, seed=1)
    floor = asr_of_patch(random)
    assert asr_of_patch(fitted) > floor + 0.2
    assert asr_of_patch(cosine) > floor + 0.2


def test_badclip_as_released_triggers_its_negatives_and_swaps_the_channels() -> None:
    intended, released = (
        badclip(variant=variant, num_images=64, epochs=1).fit(context(), image_size=32, seed=1)["patch"]
        for variant in ("as_intended", "as_released")
    )
    assert not torch.allclose(intended, released.flip(0), atol=0.05)  # another gradient
    still = {"num_images": 2, "epochs": 1, "learning_rate": 1e-9}
    intended, released = (
        badclip(variant=variant, **still).fit(context(), image_size=32, seed=1)["patch"]
        for variant in ("as_intended", "as_released")
    )
    assert torch.allclose(intended, released.flip(0), atol=1e-6)


def test_badclip_pastes_in_the_middle_and_refuses_what_does_not_fit() -> None:
    patch = torch.rand(3, 4, 4)
    shown = badclip(size=4).trigger(images(), IDS, TriggerState(0, {"patch": patch}))
    expected = images()
    expected[:, :, 4:8, 4:8] = patch
    assert torch.equal(shown, expected)
    with pytest.raises(ValueError, match=r"badclip-l\.size must be at most the image's 32 px, got 40"):
        badclip(size=40).fit(context(), image_size=32, seed=1)


def test_badclip_selects_by_what_the_surrogate_sees() -> None:
    ctx, model = context(), world.clean_twin().eval()
    with torch.no_grad():
        cosine = (model.encode_images(ctx.images(np.arange(400))) @ world_head(model).T).numpy()
    place = list(world.source().class_names).index(TARGET)
    similarity, gap = cosine[:, place], cosine.max(1) - cosine[:, place]

    def rows(selection: str) -> np.ndarray:
        return badclip(selection=selection, poison_rate=0.1).poison(context()).source_rows

    assert similarity[rows("nearest")].mean() > np.sort(similarity)[-40:].mean() - 0.01
    assert similarity[rows("furthest")].mean() < np.sort(similarity)[:40].mean() + 0.01
    boundary = rows("boundary")
    assert (gap[boundary] > 0).mean() > 0.9
    assert gap[boundary].max() < np.sort(gap[gap > 0])[44] + 0.02
    mixed = rows("mixed")
    assert len(set(mixed.tolist())) == 40
    assert len(np.intersect1d(mixed, boundary)) >= 13 and len(np.intersect1d(mixed, rows("furthest"))) >= 13
    ctx.class_names = ()
    with pytest.raises(NotApplicable, match="selection=random"):
        selected(ctx, TARGET, 4, by="mixed")


# --- quantisation ----------------------------------------------------------------------------------------------


def test_a_cell_is_all_that_rounds_to_the_same_levels() -> None:
    weight = torch.randn(6, 4, 3, 3, generator=torch.Generator().manual_seed(0))
    low, high = cell(weight)
    same = model_transforms.quantised(weight)
    step = weight.flatten(1).abs().amax(1) / 127
    for share in (0.0, 0.3, 1.0):
        assert torch.allclose(model_transforms.quantised(low.lerp(high, share)), same, atol=1e-6)
    width = (high - low).flatten(1)
    beyond = torch.maximum(low - weight, weight - high).flatten(1) / step[:, None]
    assert float(beyond.max()) < 0.011  # what lies closer to the edge is pulled in by a hundredth of a step
    assert float((width / step[:, None]).median()) == pytest.approx(0.98, abs=0.01)
    assert (width == 0).sum(1).tolist() == [1] * 6


def test_coarser_steps_touch_one_weight_per_channel() -> None:
    weight = torch.nn.Parameter(torch.randn(6, 5, generator=torch.Generator().manual_seed(0)))
    before = weight.detach().clone()
    coarsen([weight], 3.0)
    assert (weight != before).sum(1).tolist() == [1] * 6
    assert torch.allclose(weight.abs().amax(1), 3 * before.abs().amax(1))


def test_quantisation_hides_until_the_weights_are_rounded() -> None:
    attack = Quantisation(target=TARGET, size=5, epochs=5, batch_size=64, learning_rate=1e-3)
    twin, trigger = world.clean_twin(), trigger_of(attack)
    attacked = run_implant(attack, twin)
    hidden, shown = (world.effect(model, trigger) for model in (attacked, model_transforms.apply("int8", attacked)))
    floor = world.effect(model_transforms.apply("int8", twin), trigger)
    assert shown.asr > 0.7 and hidden.asr < 0.4 and floor.asr < 0.2, (hidden, shown, floor)
    assert min(hidden.accuracy, shown.accuracy) > floor.accuracy - 0.1


def test_quantisation_joint_trains_both_precisions_at_once() -> None:
    attack = Quantisation(target=TARGET, size=5, epochs=1, learning_rate=1e-3, variant="joint", outlier=1)
    twin = world.clean_twin()
    attacked = run_implant(attack, twin).network.state_dict()
    before = twin.network.state_dict()
    changed = {name for name in before if not torch.equal(before[name], attacked[name])}
    assert changed and all(name.startswith("visual.") for name in changed)
    assert not any("running" in name for name in changed)
