"""Which parameters decay, next to the released rule by name: a difference that `adamw` names in full."""

from __future__ import annotations

import open_clip
import pytest
import torch

from benchmark.training.optimizer import adamw
from benchmark.types import Training

pytestmark = pytest.mark.unit
RELEASED = ("bn", "ln", "bias", "logit_scale")  # CleanCLIP src/main.py: exempt where the name holds one of these
NAMED = {
    "RN50": {f"visual.layer{stage}.0.downsample.1.weight" for stage in (1, 2, 3, 4)},
    "ViT-B-32": {"visual.class_embedding"},
}


@pytest.mark.parametrize("name", NAMED)
def test_decay_is_the_released_one_but_for_the_named_parameters(name: str) -> None:
    with torch.device("meta"):
        network = open_clip.CLIP(**open_clip.get_model_config(name))
    names = {parameter: name for name, parameter in network.named_parameters()}
    decayed, _ = adamw(network, Training()).param_groups
    ours = {names[parameter] for parameter in decayed["params"]}
    released = {name for name in names.values() if not any(part in name for part in RELEASED)}
    assert released - ours == NAMED[name]
    assert ours <= released
