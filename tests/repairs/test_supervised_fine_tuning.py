"""Supervised fine-tuning: its head by hand, and its direction as a probe reads it."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from benchmark.models.clip import ClipModel
from benchmark.repairs.supervised_fine_tuning import LinearHead, SupervisedFineTuning
from benchmark.testing import world
from benchmark.types import Features
from tests.helpers.repairs import SCALE, after, before, unit
from tests.helpers.tiny import tensors

pytestmark = pytest.mark.unit


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
