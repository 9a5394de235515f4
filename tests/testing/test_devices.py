"""The pretended GPU raises where a real one would, and the contract finds what it finds in a method."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, ClassVar, Literal, get_args, get_origin

import numpy as np
import pytest
import torch
from torch import nn

from benchmark.config import registry
from benchmark.errors import NotApplicable
from benchmark.objectives.mmcl import MMCL
from benchmark.objectives.mmcl_ssl import MMCLSSL
from benchmark.testing import world
from benchmark.testing.common import example
from benchmark.testing.contract import Broken
from benchmark.testing.devices import GPU, MixedDevices, PretendedGPU
from benchmark.testing.objective import shortened
from benchmark.testing.on_device import device_checks
from benchmark.training import loop
from benchmark.training.loop import train
from benchmark.training.step import make_stepper
from benchmark.training.views import Inputs
from benchmark.types import Features, Loss, State, Training
from tests.helpers.tiny import model, pairs

pytestmark = pytest.mark.unit
BRIEF = Training(epochs=1, batch_size=16, learning_rate=1e-3, warmup_steps=1)
MIXED: dict[str, Callable[[torch.Tensor], Any]] = {
    "addition": lambda there: there + torch.ones(3),
    "in place": lambda there: torch.ones(3).add_(there),
    "concatenation": lambda there: torch.cat([there, torch.ones(3)]),
    "table": lambda there: nn.functional.embedding(torch.tensor([0]), there[:, None]),
    "generator": lambda there: torch.rand(3, generator=torch.Generator(), device=there.device),
    "generator in place": lambda there: there.uniform_(generator=torch.Generator()),
    "array": lambda there: np.asarray(there),
    "numpy": lambda there: there.numpy(),
    "index of the GPU": lambda there: torch.ones(3)[there.long()],
    "set by an index of the GPU": lambda there: torch.ones(3).__setitem__(there.long(), 0.0),
    "values set by index": lambda there: there.index_put_((torch.tensor([1]),), torch.zeros(1)),
}
ALIKE: dict[str, Callable[[torch.Tensor], Any]] = {
    "number": lambda there: there * 2.0,
    "tensor without a dimension": lambda there: there * torch.tensor(2.0),
    "same device": lambda there: there + torch.ones(3, device=there.device),
    "made like": lambda there: there + torch.zeros_like(there),
    "index of the CPU": lambda there: there[torch.tensor([0, 2])],
    "copied over": lambda there: there.copy_(torch.ones(3)),
    "set by an index of the CPU": lambda there: there.__setitem__(torch.tensor([0, 2]), 5.0) or there,
    "view": lambda there: there[1:].view(2, 1) + there[:1],
    "deep copy": lambda there: copy.deepcopy(there) + there,
    "moved": lambda there: torch.ones(3).to(there) + there,
    "list": lambda there: torch.tensor([1.0, 2.0, 3.0], device="cuda") + there,
}


@pytest.mark.parametrize("action", MIXED.values(), ids=MIXED)
def test_an_operation_that_meets_two_devices_raises(action: Callable[[torch.Tensor], Any]) -> None:
    with PretendedGPU(), pytest.raises(MixedDevices):
        action(torch.arange(3.0).to("cuda"))
    action(torch.arange(3.0))  # on one device it is allowed


@pytest.mark.parametrize("action", ALIKE.values(), ids=ALIKE)
def test_what_a_gpu_allows_stays_on_it(action: Callable[[torch.Tensor], Any]) -> None:
    with PretendedGPU():
        found = action(torch.arange(3.0).to("cuda"))
        assert found.device == GPU
        assert found.is_cuda and not found.is_cpu
        assert found.cpu().device.type == "cpu"
    assert found.device.type == "cpu"  # outside, it is what it always was


def test_gradients_come_back_over_the_way_that_values_went() -> None:
    with PretendedGPU():
        leaf = torch.ones(3, requires_grad=True)
        (leaf.to("cuda") * torch.full((3,), 2.0, device="cuda")).sum().backward()
        assert leaf.grad is not None
        assert leaf.grad.device.type == "cpu"
        assert leaf.grad.tolist() == [2.0, 2.0, 2.0]


def test_an_optimiser_steps_where_its_weights_are() -> None:
    with PretendedGPU():
        layer = nn.Linear(3, 1).to("cuda")
        optimizer = torch.optim.AdamW(layer.parameters(), fused=True)
        layer(torch.ones(2, 3, device="cuda")).sum().backward()
        optimizer.step()
        assert optimizer.state[layer.weight]["exp_avg"].device == GPU
        with pytest.raises(MixedDevices):
            layer(torch.ones(2, 3))


def test_what_the_host_waits_for_is_counted() -> None:
    with PretendedGPU() as gpu:
        there = torch.arange(3.0, device="cuda")
        there.sum().item()
        there.cpu()
        there[there > 1]
        there[torch.tensor([0])]
    assert gpu.waits == ["aten._local_scalar_dense", "to the CPU", "aten.index"]


# --- training ----------------------------------------------------------------------------------------------------


def test_a_step_on_views_of_two_devices_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """As it was once: the augmented view on the device, the plain one left behind."""

    def left_behind(*args: Any, **kwargs: Any) -> Inputs:
        found = loop_inputs(*args, **kwargs)
        return found._replace(images=found.images | {"image": found.images["image"].cpu()})

    loop_inputs = loop.make_inputs
    with PretendedGPU():
        train(model().to("cuda"), pairs(16), MMCLSSL(), BRIEF, seed=0)
    monkeypatch.setattr(loop, "make_inputs", left_behind)
    with PretendedGPU(), pytest.raises(MixedDevices, match=r"aten\.cat met tensors of two devices"):
        train(model().to("cuda"), pairs(16), MMCLSSL(), BRIEF, seed=0)


def test_every_part_of_a_batch_is_on_the_device_of_the_model() -> None:
    with PretendedGPU() as gpu:
        there = model().to("cuda")
        make_stepper(there, norm_group=None, micro_batch=None, autocast=False)
        options = {"seed": 0, "epoch": 0, "text_frozen": False, "labels": pairs().labels}
        found = loop.make_inputs(pairs().take(np.arange(8)), MMCLSSL().views, there, **options)
        parts = [found.rows, found.labels, *found.images.values(), *found.tokens.values()]
        assert {part.device for part in parts if part is not None} == {GPU}
        assert len(parts) == 6
        assert gpu.waits == []


@pytest.mark.parametrize("name", registry.names("objective"))
def test_no_step_makes_the_host_wait_for_the_device(name: str) -> None:
    """Twice the pairs are twice the steps, but no wait more; epochs may wait."""
    objective = shortened(example(registry.method("objective", name), {}))  # type: ignore[arg-type]
    stages = any(field.endswith("_epochs") for field in type(objective).model_fields)
    training = BRIEF.model_copy(update={"epochs": 6 if stages else 1})
    waits = []
    for count in (32, 64):
        with PretendedGPU() as gpu:
            train(world.fresh_model("tiny-vit").to("cuda"), world.pairs(count), objective, training, seed=0)
        waits.append(Counter(gpu.waits))
    assert waits[0] == waits[1]
    assert waits[0]["aten._local_scalar_dense"] > 0  # an epoch's mean loss


class Homeless(MMCL):
    """Compares with numbers that it makes on the CPU."""

    name: ClassVar[str] = "homeless"

    def loss(self, features: Features, state: State) -> Loss:
        base = super().loss(features, state)
        assert features.image is not None
        return base._replace(total=base.total + (features.image[:, 0] - torch.zeros(len(features.image))).mean())


def test_the_contract_finds_a_method_that_leaves_tensors_behind() -> None:
    (check,) = device_checks(Homeless())
    with pytest.raises(Broken, match=r"met tensors of two devices, .* belong on the device of the model"):
        check.run()
    (check,) = device_checks(MMCL())
    assert check.run().endswith("operations on a pretended GPU")


KINDS = ("objective", "attack", "repair", "detector")


def choices(annotation: Any) -> Iterator[Any]:
    """The values of a field that is a choice."""
    if get_origin(annotation) is Literal:
        yield from get_args(annotation)
    for part in get_args(annotation) if get_origin(annotation) is not Literal else ():
        yield from choices(part)


def chosen() -> Iterator[tuple[str, str, str, Any]]:
    """Kind, method, field and value of every choice that is not the default, which the contract kit runs."""
    for kind, name in [(one, name) for one in KINDS for name in registry.names(one)]:
        for field, info in registry.method(kind, name).model_fields.items():
            default = info.get_default(call_default_factory=True)
            yield from ((kind, name, field, value) for value in choices(info.annotation) if value != default)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_every_choice_of_every_method_keeps_to_one_device() -> None:
    broken, ran = {}, 0
    for kind, name, field, value in chosen():
        method = example(registry.method(kind, name), {field: value})
        try:
            (check,) = device_checks(method)  # type: ignore[arg-type]
            ran += check.run().endswith("operations on a pretended GPU")
        except NotApplicable:  # another architecture, or weights that are not here
            continue
        except Broken as error:
            broken[name, field, value] = str(error)
    assert broken == {}
    assert ran > 50


# --- a real one ---------------------------------------------------------------------------------------------------


@pytest.mark.gpu
@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind in KINDS for name in registry.names(kind)])
def test_every_method_runs_on_a_gpu(kind: str, name: str) -> None:
    from benchmark.testing.on_device import run_on

    if not torch.cuda.is_available():
        pytest.skip("no GPU here")
    run_on(example(registry.method(kind, name), {}), "cuda")
