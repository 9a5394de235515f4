"""Only the two projections of a model are trained, and nothing else moves."""

from __future__ import annotations

import pytest
import torch

from benchmark.models.projections import ProjectionsOnly, is_projection
from benchmark.objectives.mmcl import MMCL
from benchmark.training.loop import train
from benchmark.types import Training
from tests.helpers.tiny import differing, model, pairs, tensors

pytestmark = pytest.mark.unit
TRAINING = Training(epochs=2, batch_size=16, learning_rate=1e-2, warmup_steps=0, norm_group=8)
MOVED = {
    "tiny-resnet": {"visual.attnpool.c_proj.weight", "visual.attnpool.c_proj.bias", "text_projection"},
    "tiny-vit": {"visual.proj", "text_projection"},
}


@pytest.mark.parametrize("name", MOVED)
def test_a_training_moves_the_projections_and_no_statistic(name: str) -> None:
    start = model(name)
    before, found = tensors(start), ProjectionsOnly(start)
    train(found, pairs(), MMCL(), TRAINING, seed=0)
    assert set(differing(before, tensors(found))) == MOVED[name]
    assert differing(before, tensors(start)) == []
    assert all(parameter.requires_grad for parameter in start.network.parameters())


def test_it_sees_as_the_model_does() -> None:
    start = model("tiny-resnet").eval()
    images = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    found = ProjectionsOnly(start)
    found.train()
    assert torch.equal(found.encode_images(images), start.encode_images(images))
    assert torch.equal(found.encode_captions(["a ring"]), start.encode_captions(["a ring"]))


@pytest.mark.parametrize(
    ("name", "is_one"),
    [
        ("visual.proj", True),
        ("visual.attnpool.c_proj.weight", True),
        ("visual.attnpool.q_proj.weight", False),
        ("visual.head.proj.weight", True),
        ("text_projection.weight", True),
        ("text.proj.0.weight", True),
        ("transformer.resblocks.0.mlp.c_proj.weight", False),
        ("visual.transformer.resblocks.0.attn.in_proj_weight", False),
        ("logit_scale", False),
    ],
)
def test_names_of_projections(name: str, is_one: bool) -> None:
    assert is_projection(name) is is_one
