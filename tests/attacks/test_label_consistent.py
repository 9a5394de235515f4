"""Label-consistent: pairs of the target as they are, found by word or by substring."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
import torch

from benchmark.attacks.badnet import BadNet
from benchmark.attacks.label_consistent import LabelConsistent
from benchmark.contexts.poison import GatedPoisonContext
from benchmark.errors import NotApplicable
from benchmark.testing import world
from tests.helpers.attacks import EMPTY, IDS, TARGET, context, images, labels

pytestmark = pytest.mark.unit


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
    own = Captions(**{item.name: getattr(ctx, item.name) for item in fields(GatedPoisonContext) if item.init})
    intended = LabelConsistent(target=TARGET, poison_rate=0.9).poison(own)
    assert set(intended.source_rows % 5) == {1, 3, 4} and len(intended.source_rows) == 240  # all there are
    released = LabelConsistent(target=TARGET, poison_rate=0.9, variant="as_released").poison(own)
    assert set(released.source_rows % 5) == {0, 1, 4}
    with pytest.raises(NotApplicable, match="has none"):
        LabelConsistent(target="triangle", variant="as_released").poison(own)
