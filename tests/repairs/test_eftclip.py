"""EftCLIP: which labels it finds, which regions it shows, its segmenter, and its direction."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from benchmark.errors import NotApplicable
from benchmark.models.segmenters.shown import view
from benchmark.models.segmenters.weights import READ
from benchmark.repairs.eftclip.labels import affected
from benchmark.repairs.eftclip.repair import EftCLIP
from benchmark.testing import world
from benchmark.testing.repair import run_repair
from tests.helpers.repairs import noted, poisoned_rows
from tests.helpers.tiny import differing, tensors

pytestmark = pytest.mark.unit


def test_eftclip_finds_victims_and_lowers_the_success_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    planted = world.backdoored()
    before = world.effect(planted.model, planted.trigger)
    repair = EftCLIP(view="in_place", top_k=1, learning_rate=1e-3, epochs=4, warmup_steps=4, num_pairs=800)
    found, notes = noted(repair, planted, monkeypatch)
    after = world.effect(found.model, planted.trigger)
    victims = notes["victims"].numpy()
    assert notes["segmenter"] == "classical" and notes["affected"] == ["square"]
    assert len(victims) > 50 and np.isin(victims, poisoned_rows(planted)).mean() > 0.9
    assert after.asr < before.asr - 0.4, f"{before} became {after}"
    assert after.accuracy > before.accuracy - 0.2, f"{before} became {after}"


def test_eftclip_leaves_a_clean_model_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    planted = world.backdoored()._replace(model=world.clean_twin(), pairs=world.pairs(400))  # type: ignore[arg-type]
    found, notes = noted(EftCLIP(view="in_place", top_k=1), planted, monkeypatch)
    assert len(notes["victims"]) < 2
    assert found.model is not planted.model
    assert differing(tensors(found.model), tensors(planted.model)) == []


def test_eftclip_counts_labels_beyond_chance() -> None:
    rng = np.random.default_rng(0)
    even = np.eye(10, dtype=bool)[rng.integers(0, 10, 500)]
    assert affected(even, z=3.0) == []
    assert affected(np.concatenate([even, np.eye(10, dtype=bool)[np.full(60, 7)]]), z=3.0) == [7]
    assert affected(np.zeros((50, 10), bool), z=3.0) == []


def test_eftclip_shows_a_region_in_place_or_enlarged() -> None:
    image = torch.full((3, 8, 8), 10, dtype=torch.uint8)
    image[:, 2:4, 5:8] = 250
    mask = torch.zeros(8, 8, dtype=torch.bool)
    mask[2, 5], mask[3, 7] = True, True
    assert bool((view(image, mask, "crop") == 250).all())
    placed = view(image, mask, "in_place")
    assert bool((placed[:, 2:4, 5:8] == 250).all())
    assert int((placed == 32).sum()) == 3 * (64 - 6)  # 10 + 240 * 6 / 64 = 32.5, rounded half to even


def test_eftclip_is_named_by_the_content_of_its_weights(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).mkdir()
        for file in READ:
            (tmp_path / name / file).write_text("{}")
    one, two = (EftCLIP(segmenter="sam", weights=str(tmp_path / name)) for name in "ab")
    assert one.identity() == two.identity() != EftCLIP(segmenter="sam").identity()
    assert str(tmp_path) not in str(one.identity())


def test_eftclip_without_the_weights_of_its_segmenter_is_not_applicable() -> None:
    with pytest.raises(NotApplicable, match="segmenter 'sam' needs"):
        run_repair(EftCLIP(segmenter="sam"), planted=world.backdoored())
