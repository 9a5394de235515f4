"""BadCLIP: its patch on the surrogate, its variants, and which pairs it selects."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from benchmark.attacks._surrogate import selected
from benchmark.attacks.badclip_l import BadCLIPL
from benchmark.attacks.badnet import BadNet
from benchmark.data.poisoned_pool import apply_trigger
from benchmark.errors import NotApplicable
from benchmark.testing import world
from benchmark.testing.attack import trigger_of
from benchmark.types import TriggerState
from tests.helpers.attacks import IDS, TARGET, context, images, world_head

pytestmark = pytest.mark.unit


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
