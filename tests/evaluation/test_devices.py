"""Evaluation keeps to the model's device, with every read-out and every kind of condition."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from benchmark.config.spec import Readouts
from benchmark.evaluation.evaluate import Condition, Evaluation, HeldOut, evaluate, validate
from benchmark.models import model_transforms
from benchmark.testing import world
from benchmark.testing.devices import PretendedGPU

NAMES = ("a", "b", "c", "d")
EVERYTHING = Readouts(probe=True, knn=True, knn_neighbours=5, retrieval=True, retrieval_pairs=40, similarity_samples=30)


def stamp(images: torch.Tensor, ids: np.ndarray) -> torch.Tensor:
    stamped = images.clone()
    stamped[torch.from_numpy(ids % 2 == 0).nonzero()[:, 0], :, :4, :4] = 255
    return stamped


def evaluated(device: str) -> Evaluation:
    test, clean = world.held_out(80), world.held_out(60)
    victims = HeldOut(test.images[:10], test.labels[:10], test.captions[:10], test.ids[:10])
    conditions = [
        Condition("clean"),
        Condition("badnet", 1, stamp),
        Condition("tdpa", shown=victims, targets=(test.labels[:10] + 1) % 4),
        Condition("squash", 1, shown=test),
    ]
    model = world.fresh_model().to(device)
    names = {"class_names": NAMES, "templates": ("a photo of a {}",)}
    validate(model, test, conditions[:2], **names, batch_size=32)
    validate(model, test, [conditions[0], conditions[2]], **names, batch_size=32)
    return evaluate(model, test, conditions, **names, readouts=EVERYTHING, clean=clean, target=1, batch_size=32)


def readouts(found: Evaluation) -> set[str]:
    return {name for table in found.outcomes.values() for name in table["readout"].to_pylist()}


@pytest.mark.unit
def test_evaluation_keeps_to_one_device() -> None:
    with PretendedGPU() as gpu:
        found = evaluated("cuda")
    assert gpu.operations > 100
    assert {"zero_shot", "probe", "knn", "retrieval_image_to_text", "retrieval_target", "similarity"} <= readouts(found)


@pytest.mark.unit
def test_an_int8_copy_stays_on_the_device() -> None:
    with PretendedGPU():
        copy = model_transforms.apply("int8", world.fresh_model().to("cuda"))
        assert copy.encode_images(world.held_out(4).images).is_cuda


@pytest.mark.gpu
def test_a_gpu_and_the_cpu_predict_alike() -> None:
    if not torch.cuda.is_available():
        pytest.skip("no GPU here")
    there, here = evaluated("cuda"), evaluated("cpu")
    for name, table in here.outcomes.items():
        pairs = zip(there.outcomes[name]["predicted"].to_pylist(), table["predicted"].to_pylist(), strict=True)
        same = [first == second for first, second in pairs]
        assert sum(same) >= 0.98 * len(same), name
