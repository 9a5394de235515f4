"""Deep visual prompts, and adapters in general: installed, copied, saved as a delta, and loaded again."""

from __future__ import annotations

import json
from pathlib import Path

import open_clip
import pytest
import torch

from benchmark.errors import NotApplicable, UnknownNameError, UserError
from benchmark.models.architectures import TINY
from benchmark.models.clip import ClipModel, load_delta, save_delta
from benchmark.models.visual_prompts import install_prompts
from tests.helpers.tiny import differing, model, tensors

pytestmark = pytest.mark.unit
IMAGES = torch.randint(0, 256, (3, 3, 32, 32), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def prompted(depth: int = 0, tokens: int = 3) -> ClipModel:
    found = model("tiny-vit").eval().add_adapter("prompts", depth=depth, tokens=tokens)
    with torch.no_grad():
        values = found.network.visual.prompts.tokens  # type: ignore[union-attr]
        values.copy_(torch.randn(values.shape, generator=torch.Generator().manual_seed(1)))  # type: ignore[arg-type,union-attr]
    return found


def by_hand(found: ClipModel, images: torch.Tensor, *, depth: int) -> torch.Tensor:
    """The prompted tower, written out."""
    visual = found.network.visual
    prompts = visual.prompts.tokens  # type: ignore[union-attr]
    bare = model("tiny-vit").eval().network.visual  # equal weights, no hooks
    x = bare._embeds(found.normalise(images))  # type: ignore[operator,union-attr]
    for number, block in enumerate(bare.transformer.resblocks):  # type: ignore[union-attr,arg-type]
        if number < depth:
            x = block(x)
            continue
        tokens = prompts[number - depth].expand(len(x), -1, -1)  # type: ignore[index]
        x = block(torch.cat([x[:, :1], tokens, x[:, 1:]], dim=1))
        x = torch.cat([x[:, :1], x[:, 1 + tokens.shape[1] :]], dim=1)
    embedding = bare._pool(x)[0] @ bare.proj  # type: ignore[operator,union-attr]
    return torch.nn.functional.normalize(embedding, dim=1)


@pytest.mark.parametrize("depth", [0, 1])
def test_prompts_replace_one_another_from_block_to_block(depth: int) -> None:
    found = prompted(depth)
    assert found.network.visual.prompts.tokens.shape == (2 - depth, 3, 64)  # type: ignore[union-attr]
    with torch.no_grad():
        expected, got = by_hand(found, IMAGES, depth=depth), found.encode_images(IMAGES)
        bare = model("tiny-vit").eval().encode_images(IMAGES)
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-4)
    assert float((got - bare).abs().max()) > 1e-2


def test_pooling_over_all_tokens_sees_no_prompts() -> None:
    config = json.loads(json.dumps(TINY["tiny-vit"]))
    config["vision_cfg"]["pool_type"] = "avg"
    network = open_clip.model.CLIP(**config).eval()
    shapes: list[torch.Size] = []
    network.visual.ln_post.register_forward_hook(lambda _, inputs, __: shapes.append(inputs[0].shape))
    install_prompts(network, depth=1, tokens=5)
    network.encode_image(torch.rand(2, 3, 32, 32))
    assert shapes == [(2, 17, 64)]


def test_tokens_first_layout() -> None:
    """open_clip's transformers may also run (T, B, W); the prompts follow."""
    found, other = prompted(), prompted()
    tower = other.network.visual.transformer  # type: ignore[union-attr]
    tower.batch_first = False  # type: ignore[union-attr]
    for block in tower.resblocks:  # type: ignore[union-attr]
        block.attn.batch_first = False  # type: ignore[union-attr]
    other.network.visual.prompts._axis = 0  # type: ignore[union-attr]
    with torch.no_grad():
        torch.testing.assert_close(other.encode_images(IMAGES), found.encode_images(IMAGES))


def test_a_copy_has_prompts_of_its_own() -> None:
    found = prompted()
    before = found.encode_images(IMAGES).detach()
    twin = found.clone()
    assert twin.adapters == {"prompts": {"depth": 0, "tokens": 3}} and twin.adapters is not found.adapters
    assert torch.equal(twin.encode_images(IMAGES).detach(), before)
    with torch.no_grad():
        twin.network.visual.prompts.tokens.zero_()  # type: ignore[union-attr,operator]
    assert torch.equal(found.encode_images(IMAGES).detach(), before)
    assert not torch.allclose(twin.encode_images(IMAGES).detach(), before, atol=1e-3)
    found.encode_images(IMAGES).sum().backward()
    assert twin.network.visual.prompts.tokens.grad is None  # type: ignore[union-attr]


def test_a_delta_holds_the_prompts_alone(tmp_path: Path) -> None:
    from safetensors.torch import load_file

    base, found = model("tiny-vit").eval(), prompted(depth=1)
    folders = {"base": tmp_path / "base", "delta": tmp_path / "delta", "next": tmp_path / "next"}
    for folder in folders.values():
        folder.mkdir()
    save_delta(base, folders["base"], base={})
    save_delta(found, folders["delta"], base={"artifact": "base"}, of=base)
    assert list(load_file(folders["delta"] / "model.safetensors")) == ["visual.prompts.tokens"]
    again = load_delta(folders["delta"], find=folders.__getitem__).eval()
    assert again.adapters == found.adapters
    assert differing(tensors(again), tensors(found)) == []
    assert torch.equal(again.encode_images(IMAGES), found.encode_images(IMAGES))
    later = found.clone()  # a repair of the repaired model
    with torch.no_grad():
        later.network.visual.prompts.tokens.add_(1)  # type: ignore[union-attr,operator]
    save_delta(later, folders["next"], base={"artifact": "delta"}, of=found)
    assert differing(tensors(load_delta(folders["next"], find=folders.__getitem__)), tensors(later)) == []


def test_models_of_before_there_were_adapters_still_load(tmp_path: Path) -> None:
    save_delta(model(), tmp_path, base={})
    sidecar = json.loads((tmp_path / "model.json").read_text())
    assert sidecar.pop("parts") == {}
    (tmp_path / "model.json").write_text(json.dumps(sidecar))
    assert load_delta(tmp_path, find=lambda key: tmp_path).adapters == {}


def test_what_cannot_be_added_is_refused() -> None:
    with pytest.raises(NotApplicable, match="need a vision transformer"):
        model("tiny-resnet").add_adapter("prompts", depth=0, tokens=2)
    with pytest.raises(NotApplicable, match="need more blocks than the 2 there are"):
        model("tiny-vit").add_adapter("prompts", depth=2, tokens=2)
    with pytest.raises(UnknownNameError, match="unknown model adapter 'prompt'; did you mean prompts"):
        model("tiny-vit").add_adapter("prompt")
    with pytest.raises(UserError, match="must be added once"):
        prompted().add_adapter("prompts", depth=0, tokens=2)
