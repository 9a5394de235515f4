"""The published suites on paper: their numbers are those of the studies, and they plan without any data set."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from benchmark.attacks.badnet import BadNet
from benchmark.config import registry
from benchmark.config.spec import Suite
from benchmark.engine.plan import plan
from benchmark.objectives.safeclip import SafeCLIP
from benchmark.repairs.batch_norm_only import BatchNormOnly
from benchmark.repairs.cleanclip import CleanCLIP
from benchmark.repairs.fine_tuning import FineTuning
from benchmark.repairs.ssl_only import SSLOnly
from benchmark.stages.keys import cells_of
from benchmark.stages.preflight import check_data
from benchmark.store.artifacts import open_store
from benchmark.types import Choices, Training

pytestmark = pytest.mark.unit
VERMA = ("verma2025-cc3m", "verma2025-cc3m-grid", "verma2025-cc6m", "verma2025-cc6m-grid")


def suite(name: str) -> Suite:
    return registry.suite(name)()


@pytest.mark.parametrize(
    ("name", "models"),  # of one seed: each objective with its clean twin; of the ablations see the test below
    [
        *((name, 4) for name in (*VERMA, "verma2025-ssl-weight")),
        ("verma2025-ablations", 22),
        ("cleanclip2023", 5),
        ("safeclip2024", 8),
    ],
)
def test_a_published_suite_plans_without_its_data(name: str, models: int, tmp_path: Path) -> None:
    found = suite(name)
    cells = cells_of(found)
    check_data(cell.experiment for cell in cells)
    stages = {stage.stage: stage for stage in plan(open_store(str(tmp_path)), cells).stages}
    assert stages["pretrain"].total == models * len(found.seeds)
    assert stages["search"].total == sum(item.search.trials for item in found.experiments() if item.search)


@pytest.mark.parametrize("name", VERMA)
def test_models_are_trained_as_published(name: str) -> None:
    """arXiv 2311.14948: RN50, AdamW, rate 1e-3 after 10,000 steps, 64 epochs, batches 2,048 and 1,024 on eight GPUs."""
    found = suite(name)
    assert (found.model.name, found.model.pretrained) == ("RN50", None)
    shared = {"epochs": 64, "learning_rate": 1e-3, "warmup_steps": 10_000, "weight_decay": 0.1}
    shared |= {"take": "lowest_validation_loss"} if "cc3m" in name else {}
    stops = {} if "cc3m" in name else {"mmcl": {"stop_after": 21}, "mmcl-ssl": {"stop_after": 36}}
    assert found.trainings == {
        "mmcl": Training(batch_size=2048, norm_group=256, **shared, **stops.get("mmcl", {})),
        "mmcl-ssl": Training(batch_size=1024, norm_group=128, **shared, **stops.get("mmcl-ssl", {})),
    }


@pytest.mark.parametrize(("name", "pairs", "poisons"), [("cc3m", 2_725_316, 1_500), ("cc6m", 6_000_000, 3_000)])
def test_poison_and_judge_are_as_published(name: str, pairs: int, poisons: int) -> None:
    found = suite(f"verma2025-{name}")
    (attack,) = found.attacks
    assert isinstance(attack, BadNet)
    assert attack.num_poisoned(pairs) == poisons
    assert (attack.target, attack.templates, attack.size) == ("banana", "as_published", 16)
    assert (attack.pattern, attack.mode, attack.location) == ("uniform", "fresh", "random")
    assert found.splits.pretrain == pairs
    assert found.evaluation is not None
    assert (found.evaluation.name, found.splits.test) == ("imagenet-1k", 50_000)
    prompts = found.evaluation.model_dump()["evaluation_templates"]
    assert len(set(prompts)) == 80
    assert list(prompts[:2]) == ["a bad photo of a {}.", "a photo of many {}."]


def test_cleaning_is_as_published() -> None:
    """20 epochs, 50 steps of warm-up, 100,000 pairs; batches 128 on CC3M, on CC6M 64 where SSL takes part."""
    shared = {"epochs": 20, "warmup_steps": 50}
    assert suite("verma2025-cc3m").splits.clean == 100_000
    assert suite("verma2025-cc3m").repairs == (
        FineTuning(batch_size=128, **shared),
        SSLOnly(batch_size=128, **shared),
        CleanCLIP(batch_size=128, **shared),
        BatchNormOnly(epochs=20, batch_size=128),
    )
    half = {"num_clean_pairs": 100_000}
    assert suite("verma2025-cc6m").repairs == (
        FineTuning(batch_size=128, **shared, **half),
        SSLOnly(batch_size=64, **shared, **half),
        CleanCLIP(batch_size=64, **shared, **half),
        BatchNormOnly(epochs=20, batch_size=128, **half),
    )


def test_the_grid_of_cc3m_is_the_published_68_runs() -> None:
    found = suite("verma2025-cc3m-grid")
    runs = Counter(
        (item.objective.name, item.repair.name) for item in found.experiments() if item.repair and item.search
    )
    assert set(runs.values()) == {1}
    trials = {
        (item.objective.name, item.repair.name): item.search.trials
        for item in found.experiments()
        if item.repair and item.search
    }
    assert trials == {
        (objective, repair): number
        for objective in ("mmcl", "mmcl-ssl")
        for repair, number in (("fine-tuning", 13), ("ssl-only", 8), ("cleanclip", 13))
    }
    assert sum(trials.values()) == 68
    rates = found.spaces["cleanclip"]["learning_rate"]
    assert isinstance(rates, Choices)
    assert (min(rates.options), max(rates.options)) == (1e-5, 4e-3)
    assert (found.search.asr_bound, found.search.bound_on) == (0.05, "absolute")


def test_the_grid_of_cc6m_has_every_published_rate() -> None:
    found = suite("verma2025-cc6m-grid")
    rates = found.spaces["cleanclip"]["learning_rate"]
    assert isinstance(rates, Choices)
    assert rates.options[:12] == (1e-9, 5e-9, 1e-8, 5e-8, 1e-7, 3e-7, 7e-7, 1e-6, 3e-6, 7e-6, 1e-5, 3e-5)
    assert rates.options[12:] == (1e-4, 3e-4, 1e-3, 3e-3)


@pytest.mark.parametrize("name", ["verma2025-cc3m", "verma2025-cc6m"])
def test_equal_budgets_are_equal_and_share_all_models_with_the_grid(name: str) -> None:
    equal, grid = suite(name), suite(f"{name}-grid")
    assert {item.search.trials for item in equal.experiments() if item.search} == {32}
    first = {cell.keys.pretrain for cell in cells_of(equal) if cell.experiment.seed == 0}
    assert first == {cell.keys.pretrain for cell in cells_of(grid)}


def test_ablations_start_from_the_models_of_the_study() -> None:
    own = {cell.keys.pretrain for cell in cells_of(suite("verma2025-cc6m-grid"))}
    ablated = cells_of(suite("verma2025-ablations"))
    shared = [cell for cell in ablated if cell.keys.pretrain in own]
    left = {cell.experiment.repair.num_poisons_left for cell in shared if isinstance(cell.experiment.repair, CleanCLIP)}
    assert left == {0, 1, 2, 3, 4, 5, 10, 25}
    pairs = {
        cell.experiment.repair.num_clean_pairs or cell.experiment.splits.clean
        for cell in shared
        if cell.experiment.repair
    }
    assert pairs == {100_000, 200_000}
    assert own <= {cell.keys.pretrain for cell in ablated}


def test_ablations_have_the_published_values() -> None:
    """arXiv 2311.14948: decays 0.2 to 100, shrinking by 0.95, noise of 1e-4, 400 and 800 poisons, epochs 33 and 43."""
    found = suite("verma2025-ablations")
    assert found.spaces["heavy-weight-decay"]["weight_decay"] == Choices((0.2, 0.5, 1, 2, 5, 10, 20, 50, 100))
    assert found.spaces["shrink-and-perturb"]["shrink"] == Choices((0.95,))
    assert found.spaces["shrink-and-perturb"]["noise"] == Choices((1e-4,))
    assert [repair.epochs for repair in found.repairs if getattr(repair, "epochs", 20) != 20] == [100]
    fewer, warp, transformer, started = found.also
    assert [attack.num_poisoned(6_000_000) for attack in fewer.attacks] == [400, 800, 3_000]
    assert [attack.label for attack in warp.attacks] == [
        "wanet(poison_rate=0.0005,strength=0.6,target=banana,templates=as_published,variant=clip)"
    ]
    assert {name: own.stop_after for name, own in warp.trainings.items()} == {"mmcl": 33, "mmcl-ssl": 43}
    assert (transformer.model.name, transformer.pretrain.norm_group) == ("ViT-B-32", None)
    assert (started.model.pretrained, started.pretrain.learning_rate) == ("openai", 5e-7)
    assert {name: own.stop_after for name, own in started.trainings.items()} == {"mmcl": 18, "mmcl-ssl": 13}


def test_the_weight_of_ssl_is_a_grid_of_twenty_runs_for_each_model() -> None:
    found = [item for item in suite("verma2025-ssl-weight").experiments() if item.search]
    assert [(item.objective.name, item.search.trials) for item in found if item.search] == [
        ("mmcl", 20),
        ("mmcl-ssl", 20),
    ]


def test_cleanclip_is_as_published() -> None:
    """arXiv 2303.03323: batch 128 at 5e-4 for 64 epochs; 100,000 pairs, ten epochs, batch 64, 1e-5, 50 steps."""
    found = suite("cleanclip2023")
    assert found.pretrain == Training(
        epochs=64, batch_size=128, norm_group=32, learning_rate=5e-4, warmup_steps=10_000, weight_decay=0.1
    )
    assert [attack.name for attack in found.attacks] == ["badnet", "blended", "wanet", "label-consistent"]
    assert {attack.num_poisoned(2_725_316) for attack in found.attacks} == {1_500}
    assert found.splits.clean == 100_000
    assert CleanCLIP(epochs=10, batch_size=64, learning_rate=1e-5, warmup_steps=50) in found.repairs
    (weights,) = found.also
    assert [repair.ssl_weight for repair in weights.repairs] == [0.5, 2, 4, 8]
    assert [attack.name for attack in weights.attacks] == ["blended"]


def test_safeclip_is_as_published() -> None:
    """arXiv 2310.05862 and its code: a million pairs, 32 epochs, batch 128 at 5e-4; five epochs alone, one at 5e-6."""
    found = suite("safeclip2024")
    assert found.splits.pretrain == 1_000_000
    assert (found.pretrain.epochs, found.pretrain.batch_size, found.pretrain.learning_rate) == (32, 128, 5e-4)
    own = [item for item in found.objectives if isinstance(item, SafeCLIP)]
    assert [item.variant for item in own] == ["as_intended", "as_released"]
    assert {(item.unimodal_epochs, item.slow_epochs, item.slow_learning_rate, item.bank_size) for item in own} == {
        (5, 1, 5e-6, 256)
    }
    assert [attack.num_poisoned(1_000_000) for attack in found.attacks] == [90]
