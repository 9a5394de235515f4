"""Models: tiny ones build, encode, clone, save and load as deltas; what does not fit is one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from benchmark.config.spec import ModelSpec
from benchmark.errors import UserError
from benchmark.models.batch_norm import group_norms
from benchmark.models.clip import build, load_delta, load_weights, save_delta
from tests.helpers.tiny import differing, model, pairs, tensors

pytestmark = pytest.mark.unit
MODELS = ("tiny-resnet", "tiny-vit")


def nowhere(key: str) -> Path:
    raise AssertionError(f"no base was expected, {key} was asked for")


@pytest.mark.parametrize("name", MODELS)
def test_tiny_models_encode(name: str) -> None:
    one = model(name).eval()
    batch = pairs(5).take([0, 1, 2, 3, 4])
    image, text = one.encode_images(batch.images), one.encode_captions(batch.captions)
    assert image.shape == text.shape == (5, one.embed_dim) == (5, 64)
    assert image.dtype == text.dtype == torch.float32
    for side in (image, text):
        assert torch.allclose(side.norm(dim=1), torch.ones(5), atol=1e-5)
    assert torch.allclose(one.encode_images(batch.images.float() / 255), image, atol=1e-5)
    assert one.image_size == 32
    assert float(one.logit_scale().detach()) == pytest.approx(1 / 0.07, rel=1e-3)
    assert bool(group_norms(one.network)) == (name == "tiny-resnet")


def test_weights_are_a_function_of_the_seed_and_the_global_generator_stays() -> None:
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    first = tensors(model(seed=4))
    assert torch.equal(torch.rand(3), expected)
    assert differing(first, tensors(model(seed=4))) == []
    assert "visual.conv1.weight" in differing(first, tensors(model(seed=5)))


def test_a_clone_shares_nothing() -> None:
    one = model("tiny-vit")
    copy = one.clone()
    with torch.no_grad():
        for parameter in copy.network.parameters():
            parameter.add_(1)
    assert differing(tensors(one), tensors(model("tiny-vit"))) == []


def test_tokens_do_not_depend_on_the_rest_of_the_batch() -> None:
    one = model("tiny-vit")
    first = one.tokenize(["a red ring", "a blue star", "a red ring"])
    assert torch.equal(first[0], first[2])
    assert not torch.equal(first[0], first[1])
    assert torch.equal(model("tiny-vit").tokenize(["a blue star"])[0], first[1])
    assert torch.equal(one.tokenize(["A RED, ring!"])[0], first[0])


@pytest.mark.parametrize("name", MODELS)
def test_full_weights_come_back(name: str, tmp_path: Path) -> None:
    one = model(name, seed=3)
    save_delta(one, tmp_path, base={})
    back = load_delta(tmp_path, find=nowhere)
    assert differing(tensors(one), tensors(back)) == []
    assert back.spec.name == name
    sidecar = json.loads((tmp_path / "model.json").read_text())
    assert sidecar["tokenizer"] == "word-hash-1"
    assert (sidecar["image_size"], sidecar["base"]) == (32, {})
    assert torch.equal(torch.tensor(sidecar["mean"]), one.mean)


def test_a_delta_holds_only_what_differs(tmp_path: Path) -> None:
    base, folders = model(seed=3), {"base": tmp_path / "base", "delta": tmp_path / "delta"}
    for folder in folders.values():
        folder.mkdir()
    save_delta(base, folders["base"], base={})
    changed = base.clone()
    with torch.no_grad():
        changed.network.get_parameter("visual.conv1.weight").mul_(2)
        changed.network.get_buffer("visual.bn1.running_mean").add_(1)
    save_delta(changed, folders["delta"], name="epoch-0002", base={"artifact": "base"}, of=base)
    stored = load_file(folders["delta"] / "epoch-0002.safetensors")
    assert sorted(stored) == ["visual.bn1.running_mean", "visual.conv1.weight"]
    back = load_delta(folders["delta"], name="epoch-0002", find=folders.__getitem__)
    assert differing(tensors(changed), tensors(back)) == []


def test_local_weights_are_a_start(tmp_path: Path) -> None:
    one = model(seed=3)
    save_file(tensors(one), tmp_path / "w.safetensors")
    started = build(ModelSpec(name="tiny-resnet", weights=str(tmp_path / "w.safetensors")), seed=8)
    assert differing(tensors(one), tensors(started)) == []


def wrong_shape(file: Path) -> None:
    save_file(tensors(model()) | {"visual.conv1.weight": torch.zeros(2, 3, 3, 3)}, file)


def other_model(file: Path) -> None:
    save_file(tensors(model("tiny-vit")), file)


def incomplete(file: Path) -> None:
    save_file({name: value for name, value in tensors(model()).items() if name != "logit_scale"}, file)


def pickled(file: Path) -> None:
    torch.save(tensors(model()), file)


def missing(file: Path) -> None:
    assert not file.exists()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (wrong_shape, "visual.conv1.weight must be of shape (4, 3, 3, 3), got (2, 3, 3, 3); the checkpoint is not of"),
        (other_model, "unknown tensor 'visual."),
        (incomplete, "must hold every tensor of 'tiny-resnet', lacks 'logit_scale'; use a full one"),
        (pickled, "must be a safetensors file, got another format; convert it first"),
        (missing, "no such file; give a safetensors file"),
    ],
)
def test_weights_that_do_not_fit_are_one_line(make: Any, message: str, tmp_path: Path) -> None:
    file = tmp_path / "w.safetensors"
    make(file)
    one = model()
    with pytest.raises(UserError) as caught:
        load_weights(one, file)
    assert message in str(caught.value)
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert differing(tensors(one), tensors(model())) == []  # nothing half-loaded


def test_unknown_names_and_tags_are_one_line() -> None:
    with pytest.raises(UserError, match="unknown model 'ViT-B-23'; did you mean"):
        build(ModelSpec(name="ViT-B-23"), seed=0)
    with pytest.raises(UserError, match="unknown pretrained tag of ViT-B-32 'opena'; did you mean openai"):
        build(ModelSpec(name="ViT-B-32", pretrained="opena"), seed=0)
    with pytest.raises(UserError, match=r"model\.pretrained: 'tiny-vit' has no published weights"):
        build(ModelSpec(name="tiny-vit", pretrained="openai"), seed=0)
