"""UBT: which words it keeps, when it goes back, and its direction."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest
import torch

from benchmark.attacks.badnet import BadNet
from benchmark.repairs.ubt import words
from benchmark.repairs.ubt.repair import UBT
from benchmark.testing import world
from benchmark.testing.repair import run_repair
from benchmark.types import Training
from tests.helpers.repairs import noted, poisoned_rows
from tests.helpers.tiny import differing, tensors

pytestmark = pytest.mark.unit


@functools.cache
def half_learnt() -> world.Planted:
    """A backdoor that is not learnt to the end, so that poisoned pairs still fit worse than others, as UBT expects."""
    training = Training(epochs=4, batch_size=64, learning_rate=1e-3, warmup_steps=10)
    return world.plant(BadNet(target="square", size=5, pattern="checkerboard"), rate=0.1, training=training)


TINY_UBT: dict[str, Any] = {
    "suspect_rate": 0.02,
    "overfit_learning_rate": 1e-5,
    "rank": "gain",
    "num_unlearn": 24,
    "num_words": 1,
    "learning_rate": 3e-5,
    "max_steps": 40,
    "max_drop": 0.1,
}


def test_ubt_lowers_the_success_rate_of_a_half_learnt_backdoor(monkeypatch: pytest.MonkeyPatch) -> None:
    planted = half_learnt()
    before = world.effect(planted.model, planted.trigger)
    found, notes = noted(UBT(**TINY_UBT), planted, monkeypatch)
    after = world.effect(found.model, planted.trigger)
    precision = np.isin(notes["unlearnt"].numpy(), poisoned_rows(planted)).mean()
    assert before.asr > 0.3 and precision > 0.5
    assert after.asr < 0.75 * before.asr, f"{before} became {after}"
    assert after.accuracy > before.accuracy - 0.1, f"{before} became {after}"
    assert [row["epoch"] for row in found.epochs] == [1, 2, 3, 4]


def test_ubt_goes_back_where_accuracy_falls() -> None:
    planted = half_learnt()
    hasty: dict[str, Any] = TINY_UBT | {"learning_rate": 1e-2, "max_drop": 0.01}
    found = run_repair(UBT(**hasty), planted=planted)
    assert differing(tensors(found.model), tensors(planted.model)) == []
    assert len(found.epochs) == 1  # measured once, as it came in


def test_ubt_keeps_the_words_without_which_the_caption_fits_least() -> None:
    class Bag:
        """An image is a word's axis; a caption is the sum of its words' axes, "apple" counting twice."""

        axes = {"red": 0, "apple": 1, "a": 2}

        def encode_images(self, images: torch.Tensor) -> torch.Tensor:
            return torch.tensor([[0.3, 0.9, 0.0]]).expand(len(images), -1)

        def encode_captions(self, captions: list[str]) -> torch.Tensor:
            rows = torch.zeros(len(captions), 3)
            for row, caption in zip(rows, captions, strict=True):
                for word in caption.split():
                    row[self.axes[word]] += 2.0 if word == "apple" else 1.0
            return rows

    images = torch.zeros(2, 3, 4, 4)
    assert words.carrying(Bag(), images, ["a red apple", "a apple red"], 2) == ["red apple", "apple red"]
    assert words.carrying(Bag(), images[:1], ["a red apple"], 1) == ["apple"]
    assert words.carrying(Bag(), images[:1], ["a"], 1) == ["a"]


def test_ubt_knows_accuracy_by_captions_that_name_one_class() -> None:
    captions = ["a Star.", "stars", "a star and a ring", "the big ring", "nothing"]
    assert words.named(captions, ["star", "ring"]).tolist() == [0, -1, -1, 1, -1]


def test_ubt_measures_nothing_on_few_named_pairs() -> None:
    assert np.isnan(words.accuracy(None, torch.zeros(3), torch.tensor([0, -1, 1]), None))  # type: ignore[arg-type]
