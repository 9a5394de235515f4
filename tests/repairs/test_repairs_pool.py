"""Repairs that look at the suspect pairs (UBT, EftCLIP) or prompt a frozen model (RVPT): by hand, and direction."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmark.attacks.badnet import BadNet
from benchmark.config.spec import ModelSpec
from benchmark.contexts.defense import MethodInputs, pair_features
from benchmark.contexts.repair import GatedRepairContext, Report
from benchmark.data.pools import CachedPool, PoisonedPool, apply_trigger
from benchmark.errors import NotApplicable
from benchmark.evaluation.evaluate import Condition, HeldOut
from benchmark.models import segmenters
from benchmark.models.clip import ClipModel, build
from benchmark.models.segmenters.shown import view
from benchmark.objectives.mmcl import MMCL
from benchmark.repairs.eftclip.labels import affected
from benchmark.repairs.eftclip.repair import EftCLIP
from benchmark.repairs.rvpt import RVPT, embedded, repulsive, shots
from benchmark.repairs.ubt import words
from benchmark.repairs.ubt.repair import UBT
from benchmark.testing import world
from benchmark.testing.repair import Repaired, run_repair
from benchmark.training.loop import LoopOptions, train
from benchmark.types import Repair, Training
from tests.helpers.tiny import differing, tensors

pytestmark = pytest.mark.unit


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noted(repair: Repair, planted: world.Planted, monkeypatch: pytest.MonkeyPatch) -> tuple[Repaired, dict[str, Any]]:
    """Runs a repair and returns what it noted besides."""
    notes: dict[str, Any] = {}
    monkeypatch.setattr(GatedRepairContext, "note", lambda self, **findings: notes.update(findings))
    return run_repair(repair, planted=planted), notes


# --- UBT -------------------------------------------------------------------------------------------------------


@functools.cache
def half_learnt() -> world.Planted:
    """A backdoor that is not learnt to the end, so that poisoned pairs still fit worse than others, as UBT expects."""
    attack = BadNet(target="square", size=5, pattern="checkerboard", poison_rate=0.1)
    pool, training = world.pairs(), Training(epochs=4, batch_size=64, learning_rate=1e-3, warmup_steps=10)
    found = world.poisoned(attack, pool)
    suspect = PoisonedPool(pool, found.table, attack, found.trigger)
    trained = train(world.clean_twin(), suspect, MMCL(), training, seed=1)
    target = world.source().class_names.index("square")
    trigger = Condition("trigger", target, lambda images, ids: apply_trigger(attack, found.trigger, images, ids))
    return world.Planted(trained.model, trained.optimizer, training, trigger, suspect)


def poisoned_rows(planted: world.Planted) -> np.ndarray:
    rows = np.arange(planted.pairs.num_rows)
    return rows[np.array(planted.pairs.captions(rows)) != np.array(world.pairs().captions(rows))]


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


# --- EftCLIP ---------------------------------------------------------------------------------------------------


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
        for file in segmenters.READ:
            (tmp_path / name / file).write_text("{}")
    one, two = (EftCLIP(segmenter="sam", weights=str(tmp_path / name)) for name in "ab")
    assert one.identity() == two.identity() != EftCLIP(segmenter="sam").identity()
    assert str(tmp_path) not in str(one.identity())


def test_eftclip_without_the_weights_of_its_segmenter_is_not_applicable() -> None:
    with pytest.raises(NotApplicable, match="segmenter 'sam' needs"):
        run_repair(EftCLIP(segmenter="sam"), planted=world.backdoored())


# --- RVPT ------------------------------------------------------------------------------------------------------

COLOURS = {"red": (200, 40, 40), "green": (40, 180, 60), "blue": (40, 60, 200), "yellow": (210, 200, 40)}
NAMES, TEMPLATES = tuple(COLOURS), ("a {} picture", "this is {}", "we see {}")


def coloured(count: int, seed: int) -> CachedPool:
    """Pictures of one noisy colour: a task that a transformer of two blocks learns in seconds."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, len(NAMES), count)
    plain = np.array(list(COLOURS.values()))[labels][:, None, None] * rng.uniform(0.6, 1.1, (count, 1, 1, 1))
    images = (plain + rng.normal(0, 25, (count, 32, 32, 3))).clip(0, 255).astype(np.uint8)
    captions = [TEMPLATES[row % 3].format(NAMES[label]) for row, label in enumerate(labels)]
    return CachedPool(images, captions, labels)


def stamped(images: torch.Tensor, ids: np.ndarray) -> torch.Tensor:
    images = images.clone()
    images[..., -6:, -6:] = torch.from_numpy(np.indices((6, 6)).sum(0) % 2 * 255).to(torch.uint8)
    return images


@functools.cache
def transformer() -> ClipModel:
    """A tiny transformer with a backdoor to "red"."""
    clean, found = coloured(600, 0), build(ModelSpec(name="tiny-vit"), seed=0)
    batch = clean.take(np.arange(600))
    batch.images[:90] = stamped(batch.images[:90], batch.rows)
    captions = [TEMPLATES[row % 3].format("red") for row in range(90)] + batch.captions[90:]
    pool = CachedPool(batch.images.permute(0, 2, 3, 1).numpy(), captions, None)
    train(found, pool, MMCL(), Training(epochs=4, batch_size=64, learning_rate=2e-3, warmup_steps=10), seed=1)
    return found


def prompting(repair: RVPT, folder: Path, *, labelled: bool = True, seed: int = 3) -> GatedRepairContext:
    suspect, clean, test = transformer(), coloured(128, 5), coloured(200, 9)
    batch = test.take(np.arange(200))
    assert test.labels is not None
    trigger = Condition("trigger", 0, stamped)
    resources = MethodInputs(
        model=suspect,
        clean_pairs=clean if labelled else clean.unlabelled(),
        class_names=NAMES,
        templates=TEMPLATES,
        optimizer_state=lambda: ({}, Training()),
        suspect_pairs=lambda: clean,
        training_pairs=lambda: clean,
        suspect_features=lambda: pair_features(suspect, clean),
        trigger=trigger,
    )
    report = Report(
        validation=HeldOut(batch.images, test.labels, batch.captions, np.arange(200)),
        conditions=(Condition("clean", 0), trigger),
        keep=lambda rows: {rows[-1]["epoch"]},
        start_accuracy=None,
        collapse=0.0,
        folder=folder,
        base_key="base",
        progress=lambda end: None,
    )
    return GatedRepairContext(repair.card, resources, report, seed=seed, options=LoopOptions())


TINY_RVPT: dict[str, Any] = {"depth": 0, "learning_rate": 0.3, "epochs": 15}


def test_rvpt_lowers_the_success_rate_of_a_backdoored_transformer(tmp_path: Path) -> None:
    repair = RVPT(**TINY_RVPT)
    start = prompting(repair, tmp_path)
    start.report(1, transformer())
    assert start.rows[0]["validation_accuracy"] > 0.95 and start.rows[0]["validation_asr"] > 0.95
    for seed in (1, 2):
        ctx = prompting(repair, tmp_path, seed=seed)
        repair.repair(transformer(), ctx)
        assert ctx.rows[-1]["validation_asr"] < 0.5 and ctx.rows[-1]["validation_accuracy"] > 0.9


def test_rvpt_keeps_every_weight_and_saves_its_prompts_alone(tmp_path: Path) -> None:
    repair = RVPT(**(TINY_RVPT | {"num_tokens": 4, "epochs": 3}))
    ctx, before = prompting(repair, tmp_path), tensors(transformer())
    found = repair.repair(transformer(), ctx)
    after = tensors(found)
    assert set(after) - set(before) == {"visual.prompts.tokens"}
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert differing(before, tensors(transformer())) == []
    from safetensors.torch import load_file

    assert list(load_file(tmp_path / "epoch-0003.safetensors")) == ["visual.prompts.tokens"]
    assert found.adapters == {"prompts": {"depth": 0, "tokens": 4}}
    assert [row["learning_rate"] for row in ctx.rows] == pytest.approx([0.3, 0.225, 0.075])
    assert all(parameter.requires_grad for parameter in found.network.parameters())


def test_rvpt_on_a_convolutional_or_shallow_model_is_not_applicable(tmp_path: Path) -> None:
    with pytest.raises(NotApplicable, match="from depth 3 need more blocks than the 2 there are"):
        RVPT().repair(transformer(), prompting(RVPT(), tmp_path))
    with pytest.raises(NotApplicable, match="need a vision transformer"):
        run_repair(RVPT(), planted=world.backdoored())


def test_rvpt_without_labels_is_not_applicable(tmp_path: Path) -> None:
    with pytest.raises(NotApplicable, match="needs labels of the clean pairs"):
        RVPT().repair(transformer(), prompting(RVPT(), tmp_path, labelled=False))
    with pytest.raises(NotApplicable, match="none of these has a label"):
        shots(np.full(4, -1), 2, generator())


def test_rvpt_draws_its_shots_per_class() -> None:
    labels = np.array([0, 1, 0, 2, 0, 1, -1, 0])
    rows = shots(labels, 2, generator())
    assert sorted(labels[rows].tolist()) == [0, 0, 1, 1, 2]
    assert len(set(rows.tolist())) == 5
    assert rows.tolist() == shots(labels, 2, generator()).tolist() != shots(labels, 2, generator(4)).tolist()


def test_rvpt_repulsion_by_hand() -> None:
    one = [torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.tensor([[3.0, 4.0], [1.0, 0.0]])]
    other = [torch.tensor([[1.0, 0.0], [0.0, -1.0]]), torch.tensor([[1.0, 0.0], [1.0, 1.0]])]
    assert float(repulsive(one, other)) == pytest.approx(((1 - 1) / 2 + (0.6 + 0.5**0.5) / 2) / 2)


def test_rvpt_reads_embedding_and_blocks_in_one_forward(tmp_path: Path) -> None:
    model, calls = transformer().clone().eval(), []
    model.network.visual.register_forward_hook(lambda *_: calls.append(1))  # type: ignore[union-attr,operator]
    images = coloured(5, 1).take(np.arange(5)).images
    with torch.no_grad():
        embedding, blocks = embedded(model, images, prompting(RVPT(), tmp_path))
        assert len(calls) == 1 and [block.shape for block in blocks] == [(5, 17, 64)] * 2
        torch.testing.assert_close(embedding, model.encode_images(images))
