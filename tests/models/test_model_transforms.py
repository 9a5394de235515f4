"""Models as deployed: torch's own quantisation and pruning, a straight-through gradient, copies that work."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from benchmark.config.spec import ModelSpec
from benchmark.models import model_transforms
from benchmark.models.clip import build
from benchmark.models.pruning import pruned_weights

pytestmark = pytest.mark.unit


def weight(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("shape", [(8, 3, 3, 3), (5, 7), (4, 6, 1, 1)])
def test_levels_are_those_of_torch(shape: tuple[int, ...]) -> None:
    values = weight(*shape)
    scale = values.flatten(1).abs().amax(1) / 127
    zero = torch.zeros(len(scale), dtype=torch.int64)
    expected = torch.quantize_per_channel(values, scale, zero, 0, torch.qint8).dequantize()
    assert torch.allclose(model_transforms.quantised(values), expected, atol=1e-6)
    per_tensor = torch.quantize_per_tensor(values, float(scale.max()), 0, torch.qint8).dequantize()
    assert not torch.allclose(model_transforms.quantised(values), per_tensor, atol=1e-4)


def test_levels_by_hand() -> None:
    values = torch.tensor([[1.27, 0.0149, -0.0151, -1.27], [0.0, 0.0, 0.0, 0.0], [254.0, 1.1, -0.9, 3.1]])
    expected = torch.tensor([[1.27, 0.01, -0.02, -1.27], [0.0, 0.0, 0.0, 0.0], [254.0, 2.0, 0.0, 4.0]])
    assert torch.allclose(model_transforms.quantised(values), expected, atol=1e-6)


def test_rounding_again_changes_nothing() -> None:
    once = model_transforms.quantised(weight(6, 4, 3, 3))
    assert torch.allclose(model_transforms.quantised(once), once, atol=1e-7)


def test_memory_layout_does_not_matter() -> None:
    values = weight(8, 4, 3, 3)
    turned = values.to(memory_format=torch.channels_last)
    assert torch.equal(model_transforms.quantised(values), model_transforms.quantised(turned))


def test_the_gradient_passes_straight_through() -> None:
    values = weight(3, 5).requires_grad_()
    factor = weight(5, 3).T
    (model_transforms.quantised(values) * factor).sum().backward()
    assert torch.equal(values.grad if values.grad is not None else values, factor)


@pytest.mark.parametrize("name", ["tiny-resnet", "tiny-vit"])
def test_a_model_is_rounded_where_it_should_be_and_nowhere_else(name: str) -> None:
    model = build(ModelSpec(name=name), seed=0).eval()
    before = {key: value.clone() for key, value in model.network.state_dict().items()}
    low = model_transforms.apply("int8", model)
    after, now = low.network.state_dict(), model.network.state_dict()
    assert all(torch.equal(value, now[key]) for key, value in before.items())
    rounded = {key for key, value in before.items() if not torch.equal(value, after[key])}
    assert rounded <= set(model_transforms.quantised_weights(model.network))
    kinds = (nn.Conv2d, nn.Linear, nn.Embedding)
    expected = {f"{key}.weight" for key, part in model.network.named_modules() if isinstance(part, kinds)}
    expected |= {key for key in before if key.endswith("in_proj_weight")}
    assert set(model_transforms.quantised_weights(model.network)) == expected
    assert all(bool(after[key].isfinite().all()) for key in rounded)
    assert not low.network.training
    images = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        cosine = (low.encode_images(images) * model.encode_images(images)).sum(1)
        texts = (low.encode_captions(["a ring"]) * model.encode_captions(["a ring"])).sum(1)
    assert float(cosine.min()) > 0.99 and float(texts.min()) > 0.99
    assert float(cosine.max()) < 1 - 1e-7 or name == "tiny-vit"


def test_functional_call_sees_what_the_copy_has() -> None:
    from torch.func import functional_call

    model = build(ModelSpec(), seed=0).eval()
    visual: nn.Module = model.network.visual  # type: ignore[assignment]
    pixels = model.normalise(torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(1)))
    copy: nn.Module = model_transforms.apply("int8", model).network.visual  # type: ignore[assignment]
    with torch.no_grad():
        found = functional_call(visual, model_transforms.quantised_weights(visual), pixels)
        assert torch.allclose(found, copy(pixels), atol=1e-6)


@pytest.mark.parametrize("name", ["tiny-resnet", "tiny-vit"])
def test_bf16_is_what_the_network_becomes_in_that_type(name: str) -> None:
    model = build(ModelSpec(name=name), seed=0).eval()
    for norm in (part for part in model.network.modules() if isinstance(part, nn.BatchNorm2d)):
        norm.running_mean.uniform_()  # type: ignore[union-attr]
    found = model_transforms.apply("bf16", model).network.state_dict()
    expected = model.clone().network.to(torch.bfloat16).float().state_dict()
    assert all(torch.equal(value, expected[key]) for key, value in found.items())
    changed = [key for key, value in model.network.state_dict().items() if not torch.equal(value, found[key])]
    assert changed and all(found[key].dtype == model.network.state_dict()[key].dtype for key in changed)


@pytest.mark.parametrize("name", ["tiny-resnet", "tiny-vit"])
def test_pruning_drops_what_global_pruning_of_torch_drops(name: str) -> None:
    from torch.nn.utils import prune

    model = build(ModelSpec(name=name), seed=0).eval()
    found = pruned_weights(model.network, 0.1)
    modules = dict(model.clone().network.to(memory_format=torch.contiguous_format).named_modules())
    parts = [(modules[key.rpartition(".")[0]], key.rpartition(".")[2]) for key in found]
    prune.global_unstructured(parts, pruning_method=prune.L1Unstructured, amount=0.1)
    own = model.network.state_dict()
    for key, (module, part) in zip(found, parts, strict=True):
        mask = getattr(module, f"{part}_mask")
        size = own[key].abs()
        differs = (found[key] == 0) != (size * mask == 0)
        assert not differs.any() or size[differs].unique().numel() == 1  # equal weights, of which either may go
    zeros = sum(int((value == 0).sum() - (own[key] == 0).sum()) for key, value in found.items())
    assert zeros == round(0.1 * sum(value.numel() for value in found.values()))
    assert not any("token_embedding" in key for key in found)
    low = model_transforms.apply("prune10", model).network.state_dict()
    assert {key for key, value in own.items() if not torch.equal(value, low[key])} <= set(found)
    assert all(torch.equal(low[key], value) for key, value in found.items())


def test_pruning_by_hand() -> None:
    network = nn.Sequential(nn.Linear(3, 1), nn.Linear(1, 2))
    with torch.no_grad():
        network[0].weight.copy_(torch.tensor([[0.5, -0.1, 3.0]]))
        network[1].weight.copy_(torch.tensor([[0.2], [-4.0]]))
    found = pruned_weights(network, 0.4)
    assert found["0.weight"].tolist() == [[0.5, 0.0, 3.0]]
    assert found["1.weight"].tolist() == [[0.0], [-4.0]]
    assert pruned_weights(network, 0.0)["0.weight"].tolist() == network[0].weight.tolist()
