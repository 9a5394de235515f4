"""RoCLIP: when it matches against its bank, in which order, and what it does to a backdoor."""

from __future__ import annotations

import pytest
import torch

from benchmark.objectives.mmcl import MMCL, contrastive
from benchmark.objectives.roclip import RoCLIP
from benchmark.testing.objective import EMBED_DIM, GLOBAL_BATCH, hand_features
from tests.helpers.objectives import GENTLE, PAIRS, Context, effect_of, poisoned, view

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(("every", "expected"), [(1, "111111"), (2, "010101"), (3, "001001")])
def test_roclip_matches_in_every_kth_epoch_counted_from_1(every: int, expected: str) -> None:
    objective = RoCLIP(bank_size=8, every=every)
    state = objective.initial_state(embed_dim=4, seed=0)
    found = ""
    for epoch in range(6):
        (one_pass,), _ = objective.plan(epoch, state, Context())
        assert one_pass.augmentations == {"image": "simclr", "text": "eda"}
        assert one_pass.views == PAIRS
        found += "1" if one_pass.loss == objective.matched else "0"
    assert found == expected


def test_roclip_asks_the_bank_before_the_batch_is_in_it() -> None:
    found, objective = hand_features(PAIRS), RoCLIP(bank_size=40)
    state = objective.initial_state(embed_dim=EMBED_DIM, seed=0)
    image, text = view(found, "image"), view(found, "text")
    loss = objective.matched(found, state)
    captions = torch.stack([state["captions"][(state["captions"] @ row).argmax()] for row in image.detach()])
    assert torch.allclose(loss.total, contrastive(captions, image, found.logit_scale), atol=1e-6)
    assert torch.equal(loss.state["captions"], torch.cat((state["captions"][GLOBAL_BATCH:], text.detach())))
    loss.total.backward()
    assert text.grad is None  # the text tower learns nothing in such an epoch
    assert image.grad is not None
    second = objective.matched(hand_features(PAIRS), loss.state)  # now each image finds captions of the batch too
    assert float(second.total.detach()) != pytest.approx(float(loss.total.detach()))


def test_roclip_in_other_epochs_is_clip() -> None:
    found, objective = hand_features(PAIRS), RoCLIP(bank_size=8)
    (plain,), _ = objective.plan(0, objective.initial_state(embed_dim=EMBED_DIM, seed=0), Context())
    assert torch.equal(plain.loss(found, {}).total, MMCL().loss(found, {}).total)


def test_roclip_holds_a_backdoor_off_that_clip_learns() -> None:
    given = poisoned(0.05)
    clip = effect_of(MMCL(), given, GENTLE)
    roclip = effect_of(RoCLIP(bank_size=512, every=3, augment=False), given, GENTLE)
    assert roclip.asr < clip.asr - 0.15
    assert roclip.accuracy > clip.accuracy - 0.08
