"""The disk that a run will take: sizes of models to the parameter, and what is counted for which node."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmark.config import registry
from benchmark.config.spec import ModelSpec, Suite
from benchmark.engine.plan import plan
from benchmark.engine.storage import Storage, kept
from benchmark.models.architectures import GUESSED_PARAMETERS, num_parameters
from benchmark.models.clip import build
from benchmark.stages.keys import cells_of
from benchmark.store.artifacts import Store

pytestmark = pytest.mark.unit
RN50 = 102_007_137


@pytest.mark.parametrize(
    ("name", "parameters"),  # as CLIP's authors' models have, arXiv 2103.00020
    [("RN50", RN50), ("RN101", 119_688_033), ("ViT-B-32", 151_277_313), ("ViT-L-14", 427_616_513)],
)
def test_published_models_have_the_parameters_that_are_known(name: str, parameters: int) -> None:
    assert num_parameters(name) == parameters


@pytest.mark.parametrize("name", ["tiny-resnet", "small-resnet", "tiny-vit"])
def test_parameters_are_those_of_the_model_that_is_built(name: str) -> None:
    network = build(ModelSpec(name=name), seed=0).network
    assert num_parameters(name) == sum(parameter.numel() for parameter in network.parameters())


def test_towers_of_other_libraries_are_guessed() -> None:
    assert num_parameters("convnext_base") == GUESSED_PARAMETERS


def taken(folder: Path, name: str) -> Storage:
    return plan(Store(folder), cells_of(suite(name))).storage


def suite(name: str) -> Suite:
    return registry.suite(name)()


def test_models_count_with_their_optimiser_and_streamed_images_do_not(tmp_path: Path) -> None:
    found = taken(tmp_path, "verma2025-cc3m-grid")
    assert found.models == 4 * 3 * 4 * RN50
    held_out = 10_000 + 50_000  # of CC3M, with the clean pairs, and of ImageNet; 2.7 million pairs go by
    assert found.images == (100_000 + 2 * held_out) * 224 * 224 * 3
    assert found.repairs == 10 * 4 * RN50
    assert found.chosen == 6 * (3 + 16) * 4 * RN50 < found.trials  # six searches, with three rules and 16 strips
    assert found.total == found.images + found.models + found.repairs + found.trials


def test_sixty_trials_of_a_resnet_50_take_a_fifth_of_what_they_keep_alone() -> None:
    cell = next(cell for cell in cells_of(suite("verma2025-cc3m")) if cell.experiment.search)
    search = cell.experiment.search
    assert search is not None and search.front_strips == 16
    alone = cell.experiment.model_copy(update={"search": search.model_copy(update={"front_strips": 0})})
    assert kept(alone, 60) * 4 * RN50 > 100e9
    assert kept(cell.experiment, 60) * 4 * RN50 < 25e9
    assert kept(cell.experiment, 0) == kept(alone, 0) == 0


def test_what_is_there_is_not_counted_again(tmp_path: Path) -> None:
    store, cells = Store(tmp_path), cells_of(suite("smoke"))
    before = plan(store, cells).storage
    store.draft("pretrain", cells[0].keys.twin).commit({})
    after = plan(store, cells).storage
    assert before.models - after.models == 3 * 4 * num_parameters("tiny-resnet")
    assert before.images == after.images > 0
