"""Validation of one epoch: it equals what an evaluation stores; its loss by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from benchmark.evaluation.evaluate import validate
from tests.helpers.evaluation import (
    BADNET,
    CLASSES,
    CLEAN,
    TARGET,
    TEMPLATES,
    TEST,
    FakeModel,
    features_of,
    held_out,
    rows,
    run,
)


def test_validation_equals_the_outcomes() -> None:
    outcomes, model = run(FakeModel()), FakeModel()
    found = validate(model, TEST, [CLEAN, BADNET], class_names=CLASSES, templates=TEMPLATES, batch_size=64)
    clean, triggered = rows(outcomes, "clean", "zero_shot"), rows(outcomes, "badnet", "zero_shot")
    others = TEST.labels != TARGET
    assert found.total == 150
    assert found.accuracy == pytest.approx((clean["predicted"] == TEST.labels).mean())
    assert found.asr_total == others.sum()
    assert found.asr == pytest.approx((triggered["predicted"][others] == TARGET).mean())
    assert found.poisoned_accuracy == pytest.approx((triggered["predicted"] == TEST.labels)[others].mean())
    assert model.images_seen == 150 + others.sum()  # samples of the target class are not encoded twice
    assert model.training


def test_validation_loss_by_hand() -> None:
    split = held_out(300, seed=5)
    split.captions[4] = ""
    found = validate(FakeModel(), split, [CLEAN], class_names=CLASSES, templates=TEMPLATES, batch_size=64)
    model = FakeModel().train(False)
    kept = [row for row in range(300) if row != 4]
    losses = []
    for batch in (kept[:128], kept[128:256]):  # the short rest does not count
        images = torch.from_numpy(features_of(split)[batch])
        logits = 20 * images @ model.encode_captions([split.captions[row] for row in batch]).T
        truth = torch.arange(128)
        losses.append((functional.cross_entropy(logits, truth) + functional.cross_entropy(logits.T, truth)) / 2)
    assert found.loss == pytest.approx(float(sum(losses)) / 2, rel=1e-5)
    assert (found.asr, found.asr_total, found.poisoned_accuracy) == (None, 0, None)


def test_validation_loss_of_few_or_no_captions() -> None:
    few = held_out(20, seed=6)
    found = validate(FakeModel(), few, [CLEAN], class_names=CLASSES, templates=TEMPLATES, batch_size=8)
    assert found.loss > 0
    none = few._replace(captions=[""] * 20)
    found = validate(FakeModel(), none, [CLEAN], class_names=CLASSES, templates=TEMPLATES, batch_size=8)
    assert np.isnan(found.loss)
