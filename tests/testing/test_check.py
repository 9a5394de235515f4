"""Every registered method passes the contract of its kind; methods that break it are told what is wrong."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import datasets
import numpy as np
import pytest
import torch

from benchmark.config import registry
from benchmark.contexts.repair import GatedRepairContext
from benchmark.objectives.mmcl import MMCL
from benchmark.repairs.cleanclip import CleanCLIP
from benchmark.testing import world
from benchmark.testing.check import CheckResult, check_method
from benchmark.testing.repair import run_repair, trigger_shows
from benchmark.types import (
    Attack,
    Card,
    DefenderContext,
    Features,
    InputDetector,
    Loss,
    Metric,
    Repair,
    RepairContext,
    State,
    Training,
)

pytestmark = pytest.mark.unit
OTHERS = [(kind, name) for kind in registry.KINDS if kind != "dataset" for name in registry.names(kind)]


def failures(results: list[CheckResult]) -> dict[str, str]:
    return {result.name: result.detail for result in results if not result.ok}


@pytest.mark.parametrize(("kind", "name"), OTHERS, ids=lambda part: part)
def test_registered_methods_keep_their_contract(kind: str, name: str) -> None:
    results = check_method(registry.method(kind, name))
    assert failures(results) == {}
    assert len(results) >= 14
    if kind == "detector":
        assert any(result.name.startswith("ranks ") for result in results)


def parquet(folder: Path, columns: dict[str, list[Any]], features: dict[str, Any], *, split: str = "train") -> None:
    made = datasets.Dataset.from_dict(columns, features=datasets.Features(features))
    made.to_parquet(folder / "data" / f"{split}-00000-of-00001.parquet")


def miniature(folder: Path, name: str) -> dict[str, Any]:
    """Fields that point a data set at twenty rows of its own layout."""
    (folder / "data").mkdir()
    images = [np.full((9, 9, 3), 10 * k, np.uint8) for k in range(20)]
    if name == "shapes":
        return {"num_rows": 200}
    pixels, text = datasets.Image(), datasets.Value("string")
    names = datasets.ClassLabel(names=["cat", "dog"])
    labels = [k % 2 for k in range(20)]
    for split in ("train", "test"):
        if name == "cifar10":
            parquet(folder, {"img": images, "label": labels}, {"img": pixels, "label": names}, split=split)
        elif name == "hf":
            columns = {"image": images, "caption": [f"photo {k}" for k in range(20)]}
            parquet(folder, columns, {"image": pixels, "caption": text}, split=split)
    return {"path": str(folder), "expected_rows": {}} if name == "cifar10" else {"path": str(folder)}


@pytest.mark.parametrize("name", ["shapes", "cifar10", "hf"])
def test_data_sets_keep_their_contract(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("BACKSTOP_CACHE", str(tmp_path / "user-cache"))
    results = check_method(registry.method("dataset", name), miniature(tmp_path, name))
    assert failures(results) == {}
    assert {"opens", "rows are pure", "splits are disjoint"} <= {result.name for result in results}


@pytest.mark.parametrize("name", ["cc3m", "cc12m", "coco-captions", "imagenet-1k"])
def test_sets_of_the_hub_are_not_downloaded(name: str) -> None:
    found = failures(check_method(registry.method("dataset", name)))
    assert list(found) == ["opens"]
    assert "a check downloads nothing; give `path`" in found["opens"]


def test_cleanclip_lowers_the_success_rate_of_a_planted_backdoor() -> None:
    planted = world.backdoored()
    before = world.effect(planted.model, planted.trigger)
    repair = CleanCLIP(learning_rate=3e-3, epochs=8, warmup_steps=4)
    after = world.effect(run_repair(repair).model, planted.trigger)
    assert before.asr > 0.9
    assert after.asr < before.asr - 0.3, f"{before} became {after}"
    assert after.accuracy > before.accuracy - 0.2, f"{before} became {after}"


CARD = Card(title="Wrong", citation="none", access="weights", summary="breaks a rule", needs=frozenset({"clean_pairs"}))


class InPlace(Attack):
    """Writes into the images that it is given."""

    name: ClassVar[str] = "in-place"
    card: ClassVar[Card] = CARD

    def trigger(self, images: torch.Tensor, ids: np.ndarray, state: Any) -> torch.Tensor:
        images[:, :, :8, :8] = 1
        return images


class ByPlace(Attack):
    """Its trigger depends on the place in the batch and it changes the type."""

    name: ClassVar[str] = "by-place"
    card: ClassVar[Card] = CARD

    def trigger(self, images: torch.Tensor, ids: np.ndarray, state: Any) -> torch.Tensor:
        return (images + torch.arange(len(images)).view(-1, 1, 1, 1) / 50).double()


class Invisible(Attack):
    """Its trigger changes nothing, so that nothing can be learnt."""

    name: ClassVar[str] = "invisible"
    card: ClassVar[Card] = CARD

    def trigger(self, images: torch.Tensor, ids: np.ndarray, state: Any) -> torch.Tensor:
        return images * 1.0


class Careless(Repair):
    """Changes the model that came in, with global randomness."""

    name: ClassVar[str] = "careless"
    card: ClassVar[Card] = CARD

    def repair(self, model: Any, ctx: RepairContext) -> Any:
        with torch.no_grad():
            next(model.network.parameters()).add_(torch.rand(()))
        return model


class Meddling(Repair):
    """Gives a copy back, and changes the model that came in besides."""

    name: ClassVar[str] = "meddling"
    card: ClassVar[Card] = CARD

    def repair(self, model: Any, ctx: RepairContext) -> Any:
        found = model.clone()
        ctx.report(1, found)
        with torch.no_grad():
            next(model.network.parameters()).add_(1)
        return found


class Greedy(Repair):
    """Uses what its card does not name."""

    name: ClassVar[str] = "greedy"
    card: ClassVar[Card] = CARD

    def repair(self, model: Any, ctx: RepairContext) -> Any:
        return ctx.fit(ctx.reference, ctx.clean_pairs, MMCL(), Training(epochs=1, batch_size=32))


class Peeking(Repair):
    """Looks among its callers' frames for attack success and stops where it is low, as no defender could."""

    name: ClassVar[str] = "peeking"
    card: ClassVar[Card] = CARD

    def repair(self, model: Any, ctx: Any) -> Any:
        recorder = sys._getframe(1).f_locals["recorder"]
        for _ in range(3):
            model = ctx.fit(model, ctx.clean_pairs, MMCL(), Training(epochs=1, batch_size=64, warmup_steps=2))
            if recorder.rows[-1]["validation_asr"] < 0.5:
                break
        return model


class Asking(Repair):
    """Asks for the rows that a report once left in the open."""

    name: ClassVar[str] = "asking"
    card: ClassVar[Card] = CARD

    def repair(self, model: Any, ctx: Any) -> Any:
        ctx.report(1, model)
        return model.clone() if ctx.rows[-1]["validation_asr"] else model


class Constant(Repair):
    """Takes the backdoor away with everything else: one class for every image."""

    name: ClassVar[str] = "constant"
    card: ClassVar[Card] = CARD

    def repair(self, model: Any, ctx: RepairContext) -> Any:
        found = model.clone()
        with torch.no_grad():
            for parameter in found.network.parameters():
                parameter.zero_()
        return found


class Shuffled(Repair):
    """Random weights: every class now and then, and all of it chance."""

    name: ClassVar[str] = "shuffled"
    card: ClassVar[Card] = CARD

    def repair(self, model: Any, ctx: RepairContext) -> Any:
        found = model.clone()
        with torch.no_grad():
            for parameter in found.network.parameters():
                parameter.normal_(std=0.05, generator=ctx.generator)
        return found


class Ordered(MMCL):
    """A loss that weighs samples by their place and grows with training."""

    name: ClassVar[str] = "ordered"

    def loss(self, features: Features, state: State) -> Loss:
        assert features.image is not None
        total = (features.image[:, 0] * torch.arange(len(features.image))).sum()
        return Loss(total, {}, {"extra": total})


class Boundless(Metric):
    """A percentage that calls itself a share."""

    name: ClassVar[str] = "boundless"
    card: ClassVar[Card] = CARD

    def measure(self, outcomes: Any, *, target: int | None) -> list[Any]:
        from benchmark.types import Measure

        outcomes["seen"] = True
        return [Measure("percent", "zero_shot", 50.0, -1, 0)]


class Forceless(Constant):
    """Declares a strength that is a text."""

    name: ClassVar[str] = "forceless"
    strength: ClassVar[str | None] = "force"

    force: str = "much"


class Nameless(Repair):
    name: ClassVar[str] = "Not A Name"

    strength_of_it: int


@pytest.mark.parametrize(
    ("cls", "expected"),
    [
        (InPlace, {"trigger leaves its input alone"}),
        (ByPlace, {"trigger keeps shape and type", "trigger treats samples apart"}),
        (Invisible, {"trigger shows", "attack plants"}),
        (Careless, {"input model unmodified", "deterministic under the seed"}),
        (Meddling, {"input model unmodified"}),
        (Greedy, {"repairs with what its card names"}),
        (Peeking, {"sees nothing of the trigger"}),
        (Asking, {"repairs with what its card names"}),
        (Constant, {"tells classes apart"}),
        (Forceless, {"strength"}),
        (Shuffled, {"tells classes apart"}),
        (Ordered, {"order of the batch does not matter", "loss is finite"}),
        (Boundless, {"within bounds", "denominators", "outcomes unmodified"}),
        (Nameless, {"name", "card", "docstrings", "builds"}),
    ],
    ids=lambda part: getattr(part, "__name__", ""),
)
def test_breaches_are_found(cls: Any, expected: set[str]) -> None:
    found = failures(check_method(cls))
    assert expected <= set(found)
    assert all(detail and "\n" not in detail for detail in found.values())


@pytest.mark.parametrize("needs", [frozenset(), frozenset({"clean_pairs", "labels", "reference", "class_names"})])
def test_a_context_shows_the_same_whatever_trigger_is_measured(needs: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    card, planted = CARD.model_copy(update={"needs": needs}), world.backdoored()
    assert trigger_shows(card, planted) == []
    build = GatedRepairContext.__init__

    def leaking(ctx: Any, card: Card, inputs: Any, recorder: Any, **more: Any) -> None:
        build(ctx, card, inputs, recorder, **more)
        ctx.rows = recorder.rows

    monkeypatch.setattr(GatedRepairContext, "__init__", leaking)
    assert "ctx.rows[0]['validation_asr']" in trigger_shows(card, planted)

    def telling(ctx: Any, epoch: int, model: Any) -> Any:
        ctx._record.measure(epoch, model, 0.0, 0.0)
        return ctx.__dict__.pop("rows")[-1]["validation_asr"]

    monkeypatch.setattr(GatedRepairContext, "report", telling)
    assert trigger_shows(card, planted) == ["ctx.report()"]


def test_a_context_opens_the_trigger_to_declared_oracles_alone() -> None:
    card = CARD.model_copy(update={"needs": frozenset({"trigger"})})
    assert any(place.startswith("ctx.trigger") for place in trigger_shows(card, world.backdoored()))


def test_checks_without_findings_come_first_to_last_once() -> None:
    results = check_method(registry.method("metric", "clean-accuracy"))
    names = [result.name for result in results]
    assert len(set(names)) == len(names)
    assert names[:4] == ["name", "card", "docstrings", "builds"]


def test_the_world_of_the_kit_is_deterministic() -> None:
    makers: tuple[Callable[[], Any], ...] = (world.fresh_model, world.clean_twin)
    for make in makers:
        first, second = make().network.state_dict(), make().network.state_dict()
        assert all(torch.equal(first[name], second[name]) for name in first)
    assert set(world.pairs().captions(np.arange(50))) & set(world.held_out().captions)
    assert len(np.unique(world.held_out().labels)) == 4


class Bare(MMCL):
    """A loss without the form that the loop reads."""

    name: ClassVar[str] = "bare"

    def loss(self, features: Features, state: State) -> Any:
        """A tensor only."""
        return super().loss(features, state).total


def test_an_objective_that_returns_a_tensor_is_told_so_once() -> None:
    told = "a loss must return a benchmark.types.Loss(total, terms, state), got Tensor"
    assert failures(check_method(Bare)) == {"losses are a Loss": told}


class Sure(InputDetector):
    """Scores through numpy, as an author would write it."""

    name: ClassVar[str] = "sure"
    card: ClassVar[Card] = Card(
        title="Sure", citation="this test", access="outputs", needs=frozenset({"class_names"}), summary="Confidence."
    )

    def score(self, model: Any, images: torch.Tensor, state: State, ctx: DefenderContext) -> torch.Tensor:
        """The highest cosine to a prompt."""
        return torch.from_numpy(ctx.encode_images(model, images).numpy() @ ctx.head(model).numpy().T).amax(1)


def test_an_author_of_a_detector_need_not_think_of_gradients() -> None:
    found = failures(check_method(Sure))
    assert {name: why for name, why in found.items() if "grad" in why} == {}
