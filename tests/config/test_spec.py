"""Specifications: the grid of a suite, and search ranges beside their fields."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from benchmark.attacks.badnet import BadNet
from benchmark.config.overrides import override
from benchmark.config.spec import Experiment, Grid, ModelSpec, Suite
from benchmark.datasets.shapes.dataset import Shapes
from benchmark.engine import document
from benchmark.objectives.mmcl import MMCL
from benchmark.repairs.cleanclip import CleanCLIP
from benchmark.repairs.fine_tuning import FineTuning
from benchmark.types import Choices, Range
from tests.config.suites import suite

pytestmark = pytest.mark.unit


def test_grid_adds_the_controls_and_keeps_board_order() -> None:
    cells = suite().experiments()
    assert len(cells) == 2 * 2 * (1 + 3) * (1 + 2)
    first = [(cell.seed, cell.objective.name, cell.attack, cell.repair) for cell in cells[:2]]
    assert first == [(0, "mmcl", None, None), (0, "mmcl", None, FineTuning())]
    assert [cell.seed for cell in cells] == sorted(cell.seed for cell in cells)


def test_only_attacked_cells_of_searched_repairs_are_searched() -> None:
    searched = [cell for cell in suite().experiments() if cell.search]
    assert len(searched) == 2 * 2 * 3
    assert {cell.repair.name for cell in searched if cell.repair} == {"cleanclip"}
    assert all(cell.attack for cell in searched)
    assert all(cell.space == {"learning_rate": Range(1e-4, 1e-2, True)} for cell in searched)
    assert all(cell.space == {} for cell in suite().experiments() if not cell.search)


def test_further_grids_stand_on_the_same_ground_and_no_cell_twice() -> None:
    more = Grid(objectives=(MMCL(),), attacks=(BadNet(target="ring", captions="real"),))
    other = Grid(
        model=ModelSpec(name="tiny-vit"), objectives=(MMCL(),), attacks=(BadNet(target="ring"),), repairs=(CleanCLIP(),)
    )
    own, grown = suite(), Suite(**{**dict(suite()), "also": (more, other)})
    cells, added = own.experiments(), []
    for seed in (0, 1):
        part = [cell for cell in grown.experiments() if cell.seed == seed]
        first = [cell for cell in cells if cell.seed == seed]
        assert part[: len(first)] == first
        added += part[len(first) :]
    shown = [(cell.model.name, cell.attack.label if cell.attack else "", bool(cell.repair)) for cell in added[:5]]
    assert shown == [  # the clean twin of the first further grid is a cell of the suite's own
        ("tiny-resnet", "badnet(captions=real,target=ring)", False),
        ("tiny-vit", "", False),
        ("tiny-vit", "", True),
        ("tiny-vit", "badnet(target=ring)", False),
        ("tiny-vit", "badnet(target=ring)", True),
    ]
    assert not any(cell.search for cell in added)
    assert [item.label for item in grown.methods("repair")] == ["fine-tuning", "cleanclip"]
    changed = override(grown, {"data.num_rows": "50", "also.1.pretrain.epochs": "2", "also.0.attacks.badnet.size": "4"})
    assert {cell.data.num_rows for cell in changed.experiments() if isinstance(cell.data, Shapes)} == {50}
    assert {cell.pretrain.epochs for cell in changed.experiments() if cell.model.name == "tiny-vit"} == {2}
    assert document._protocol(changed, changed.to_dict())["also.1.pretrain"]["epochs"] == 2
    assert changed.also[0].attacks[0].label == "badnet(captions=real,size=4,target=ring)"


def test_experiments_print_and_compare() -> None:
    one = suite().experiments()[-1]
    assert one == suite().experiments()[-1]
    assert isinstance(one, Experiment)
    dumped = one.to_dict()
    assert dumped["attack"]["fields"]["strength"] == 0.2  # of the subclass, not of the base only
    assert dumped["space"] == {"learning_rate": [1e-4, 1e-2, True]}
    with pytest.raises(ValidationError):
        one.seed = 3  # type: ignore[misc]


def test_ranges_and_choices_stand_beside_their_fields() -> None:
    (field,) = [item for item in CleanCLIP.model_fields["learning_rate"].metadata if isinstance(item, Range)]
    assert field == Range(1e-6, 1e-3, log=True)
    cell = suite().experiments()[-1].model_copy(update={"space": {"variant": Choices(("as_intended",))}})
    assert cell.space["variant"] == Choices(("as_intended",))
