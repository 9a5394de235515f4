"""PAR: its loss and its learning rate by hand, and its direction."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from benchmark.repairs.par import PAR, PerturbAndRecover, scheduled
from benchmark.testing import world
from benchmark.types import Features, Training
from tests.helpers.repairs import SCALE, after, before, unit

pytestmark = pytest.mark.unit


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
    small: dict[str, Any] = {"batch_size": 64, "epochs": 16, "learning_rate": 2e-3, "middle_learning_rate_share": 0.3}
    model, found = after(PAR(**small, augmentation="none"))
    assert found.asr < before().asr - 0.5
    assert found.accuracy > before().accuracy - 0.08
    assert torch.equal(model.logit_scale(), world.backdoored().model.logit_scale())
