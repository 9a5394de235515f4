"""Models that start from another suite's: resolved to its clean model's key, and refused where nobody has made it."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmark.attacks.badclip_l import BadCLIPL
from benchmark.config import registry
from benchmark.config.overrides import override
from benchmark.config.spec import Suite
from benchmark.datasets.known import Cifar10
from benchmark.errors import UserError
from benchmark.stages.cells import Cell
from benchmark.stages.keys import cells_of
from benchmark.stages.outside import outside_of
from benchmark.stages.preflight import check_starts, published_models
from benchmark.store.artifacts import Store
from tests.config.suites import suite

pytestmark = pytest.mark.unit


def _clean(cells: list[Cell], objective: str, seed: int) -> str:
    found = [cell for cell in cells if (cell.experiment.objective.name, cell.experiment.seed) == (objective, seed)]
    return found[0].keys.twin


def _tuned(**settings: str) -> Suite:
    return override(suite(), {name.replace("__", "."): text for name, text in settings.items()})


def test_a_start_by_suite_is_its_clean_model_of_the_same_objective_and_seed() -> None:
    smoke = cells_of(override(registry.suite("smoke")(), {"seeds": "[0, 1]"}))
    tuned = cells_of(_tuned(model__start_from="suite:smoke"))
    for cell in tuned:
        expected = _clean(smoke, cell.experiment.objective.name, cell.experiment.seed)
        assert cell.experiment.model.start_from == expected
    by_key = {f"start_by_objective__{name}": _clean(smoke, name, 0) for name in ("mmcl", "mmcl-ssl")}
    assert cells_of(_tuned(**by_key, seeds="[0]")) == [cell for cell in tuned if cell.experiment.seed == 0]


def test_a_model_from_outside_starts_where_mmcl_does_whoever_asks() -> None:
    asked = suite().model_copy(update={"attacks": (BadCLIPL(target="ring"),), "seeds": (0,)})
    cells = cells_of(override(asked, {"model.start_from": "suite:smoke"}))
    attacked = [cell for cell in cells if cell.experiment.attack]
    assert len({cell.keys.outside for cell in attacked}) == len({cell.keys.poison for cell in attacked}) == 1
    assert {cell.experiment.objective.name for cell in attacked} == {"mmcl", "mmcl-ssl"}
    start = _clean(cells_of(registry.suite("smoke")()), "mmcl", 0)
    assert {outside_of(cell.experiment).model.start_from for cell in attacked} == {start}
    assert all(cell.experiment.outside is None for cell in cells if not cell.experiment.attack)


def test_what_a_suite_is_called_is_in_no_key() -> None:
    smoke = cells_of(registry.suite("smoke")())
    named = cells_of(_tuned(seeds="[0]", start_by_objective__mmcl="suite:smoke"))
    given = cells_of(_tuned(seeds="[0]", start_by_objective__mmcl=_clean(smoke, "mmcl", 0)))
    assert [cell.keys for cell in named] == [cell.keys for cell in given]
    mine = {cell.keys.twin for cell in cells_of(_tuned(seeds="[0]")) if cell.experiment.objective.name != "mmcl"}
    assert {cell.keys.twin for cell in named if cell.experiment.objective.name != "mmcl"} == mine


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"model__start_from": "suite:smok"}, "unknown suite 'smok'; did you mean smoke"),
        (
            {"model__name": "tiny-vit", "model__start_from": "suite:smoke"},
            "model.start_from must be a suite with one clean tiny-vit of mmcl that starts from no suite, got '0 in",
        ),
        (
            {"objectives": '["siglip"]', "model__start_from": "suite:smoke"},
            "must be a suite with one clean tiny-resnet of siglip",
        ),
        ({"objectives": '["safeclip"]', "model__start_from": "suite:kinds"}, "got '2 in suite:kinds'"),
    ],
)
def test_a_suite_without_such_a_model_is_refused(settings: dict[str, str], told: str) -> None:
    with pytest.raises(UserError) as caught:
        cells_of(_tuned(**settings))
    assert told in str(caught.value)


def test_a_start_reads_the_same_files_where_both_suites_name_the_set(tmp_path: Path) -> None:
    for split in ("train", "test"):
        table = pa.table({"img": [{"bytes": b"", "path": None}], "label": [0]})
        pq.write_table(table, tmp_path / f"{split}-00000-of-00001.parquet")
    here = {"data.path": str(tmp_path)}
    own = cells_of(override(registry.suite("cifar10")(), here))
    tuned = suite().model_copy(update={"data": Cifar10(), "attacks": (), "seeds": (0,)})
    tuned = override(tuned, here | {"model.start_from": "suite:cifar10"})
    assert {cell.experiment.model.start_from for cell in cells_of(tuned)} == {cell.keys.twin for cell in own}


def test_a_start_that_nobody_has_made_is_refused_until_it_or_the_model_is_there(tmp_path: Path) -> None:
    store, start = Store(tmp_path), "a" * 32
    cells = cells_of(_tuned(model__start_from=start))[:1]
    with pytest.raises(
        UserError, match=f"model.start_from must be a pretrain artifact in store .*, got '{start}'; run"
    ):
        check_starts(cells, store)
    other = Store(tmp_path / "other")
    other.draft("pretrain", cells[0].keys.pretrain).commit({})
    check_starts(cells, other)  # the model that would start there is made
    store.draft("pretrain", start).commit({})
    check_starts(cells, store)


def test_the_store_is_asked_once_for_each_model_that_has_a_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(Store, "has", lambda store, stage, key: bool(asked.append(key)))
    cells, store = cells_of(_tuned(seeds="[0]")), Store(tmp_path)
    check_starts(cells, store)
    assert published_models(cells, store) == asked == []
    published = cells_of(_tuned(model__name="RN50", model__pretrained="openai", seeds="[0]"))
    (model,) = published_models(published, store)
    assert model.pretrained == "openai"
    assert sorted(asked) == sorted({cell.keys.pretrain for cell in published})
    assert len(asked) < len(published)
