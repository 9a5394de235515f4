"""RVPT: its prompts, shots and repulsion by hand, and its direction on a transformer."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmark.config.spec import ModelSpec
from benchmark.contexts.defense import MethodInputs, pair_features
from benchmark.contexts.recorder import EpochRecorder, Report
from benchmark.contexts.repair import GatedRepairContext
from benchmark.data.pools import CachedPool
from benchmark.errors import NotApplicable
from benchmark.evaluation.evaluate import Condition, HeldOut
from benchmark.models.clip import ClipModel, build
from benchmark.objectives.mmcl import MMCL
from benchmark.repairs.rvpt import RVPT, embedded, repulsive, shots
from benchmark.testing import world
from benchmark.testing.repair import run_repair
from benchmark.training.loop import LoopOptions, train
from benchmark.types import Training
from tests.helpers.tiny import differing, tensors

pytestmark = pytest.mark.unit


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


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
    return opened(repair, folder, labelled=labelled, seed=seed)[0]


def opened(
    repair: RVPT, folder: Path, *, labelled: bool = True, seed: int = 3
) -> tuple[GatedRepairContext, EpochRecorder]:
    """A context, and what the engine keeps to itself."""
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
        folder=folder,
        base_key="base",
        progress=lambda end: None,
    )
    recorder = EpochRecorder(report, resources)
    return GatedRepairContext(repair.card, resources, recorder, seed=seed, options=LoopOptions()), recorder


TINY_RVPT: dict[str, Any] = {"depth": 0, "learning_rate": 0.3, "epochs": 15}


def test_rvpt_lowers_the_success_rate_of_a_backdoored_transformer(tmp_path: Path) -> None:
    repair = RVPT(**TINY_RVPT)
    ctx, start = opened(repair, tmp_path)
    ctx.report(1, transformer())
    assert start.rows[0]["validation_accuracy"] > 0.95 and start.rows[0]["validation_asr"] > 0.95
    for seed in (1, 2):
        ctx, recorder = opened(repair, tmp_path, seed=seed)
        repair.repair(transformer(), ctx)
        assert recorder.rows[-1]["validation_asr"] < 0.5 and recorder.rows[-1]["validation_accuracy"] > 0.9


def test_rvpt_keeps_every_weight_and_saves_its_prompts_alone(tmp_path: Path) -> None:
    repair = RVPT(**(TINY_RVPT | {"num_tokens": 4, "epochs": 3}))
    (ctx, recorder), before = opened(repair, tmp_path), tensors(transformer())
    found = repair.repair(transformer(), ctx)
    after = tensors(found)
    assert set(after) - set(before) == {"visual.prompts.tokens"}
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert differing(before, tensors(transformer())) == []
    from safetensors.torch import load_file

    assert list(load_file(tmp_path / "epoch-0003.safetensors")) == ["visual.prompts.tokens"]
    assert found.adapters == {"prompts": {"depth": 0, "tokens": 4}}
    assert [row["learning_rate"] for row in recorder.rows] == pytest.approx([0.3, 0.225, 0.075])
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
