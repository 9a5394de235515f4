"""A part of a grid: `--only` and `--limit` choose cells, whose keys and suite stay what they are."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmark.engine.asked import first_left, read_only, select, share_of
from benchmark.engine.plan import plan
from benchmark.errors import UserError
from benchmark.stages.cells import Cell
from benchmark.stages.keys import cells_of
from benchmark.stages.record import axes
from benchmark.store.artifacts import Store
from suites.kinds import suite as kinds
from suites.smoke import suite as smoke

pytestmark = pytest.mark.unit


@pytest.fixture(scope="module")
def cells() -> list[Cell]:
    return cells_of(smoke())


def chosen(cells: list[Cell], *texts: str) -> list[dict[str, object]]:
    return [axes(cell.experiment) for cell in select(cells, read_only(texts))]


def test_axes_narrow_and_values_of_one_axis_add_up(cells: list[Cell]) -> None:
    both = chosen(cells, "objective=mmcl,attack=badnet")
    assert len(both) == 4  # none and three repairs
    assert {str(entry["objective"]) for entry in both} == {"mmcl"}
    assert {str(entry["attack"]).partition("(")[0] for entry in both} == {"badnet"}
    assert len(chosen(cells, "objective=mmcl", "attack=badnet", "attack=blended")) == 8
    assert len(chosen(cells, "objective=mmcl,attack=badnet,attack=clean")) == 8


def test_the_cells_keep_the_keys_and_the_order_of_the_whole_suite(cells: list[Cell]) -> None:
    found = select(cells, read_only(["repair=cleanclip"]))
    assert [cell.keys for cell in found] == [cell.keys for cell in cells if cell in found]
    assert {cell.experiment.repair.name for cell in found if cell.experiment.repair} == {"cleanclip"}
    assert select(cells, {}) == cells


def test_a_defense_is_a_repair_or_a_detector_and_a_label_with_commas_is_one_value() -> None:
    cells = cells_of(kinds())
    bare = chosen(cells, "defense=none,attack=badnet")
    assert {(entry["repair"], entry["detector"]) for entry in bare} == {("none", "none")}
    assert {str(entry["detector"]) for entry in chosen(cells, "defense=slof")} == {"slof"}
    label = str(next(axes(cell.experiment)["repair"] for cell in cells if "," in axes(cell.experiment)["repair"]))
    assert {entry["repair"] for entry in chosen(cells, f"model=tiny-resnet,repair={label}")} == {label}


BAD = {
    "objective": "--only must be AXIS=VALUE,…, got 'objective'; e.g. objective=mmcl,attack=badnet",
    "atack=badnet": "--only atack=badnet: unknown axis 'atack'; did you mean attack",
    "attack=badnt": "--only attack=badnt: unknown attack 'badnt'; did you mean badnet",
    "seed=3": "--only seed=3: unknown seed '3'; known: 0",
    "objective=mmcl,repair=cleanclip,detector=strip": "unknown detector 'strip'; known: none",
}


@pytest.mark.parametrize("text", BAD)
def test_what_leaves_no_cell_is_one_line_with_the_values_there_are(cells: list[Cell], text: str) -> None:
    with pytest.raises(UserError) as told:
        select(cells, read_only([text]))
    assert BAD[text] in str(told.value)


def test_values_that_no_cell_has_together_name_those_that_go_together() -> None:
    cells = cells_of(kinds())
    with pytest.raises(UserError, match=r"must leave a cell, got none; .*with the rest, attack may be none, badnet"):
        select(cells, read_only(["attack=wanet,repair=cleanclip"]))


def test_a_limit_takes_the_first_cells_that_are_not_done(cells: list[Cell], tmp_path: Path) -> None:
    store = Store(tmp_path)
    for cell in cells[:2]:
        store.draft("record", cell.keys.record).commit({"final": True, "statuses": {"undefended": "ok"}})
    assert first_left(store, cells, 3) == cells[2:5]
    assert first_left(store, cells, None) == cells
    assert first_left(store, cells[:2], 3) == cells[:2]  # all done: the summary is about all of them
    assert (share_of(3, 24), share_of(24, 24)) == ("3 of 24 cells", "24 cells")


def test_the_clean_twin_is_made_where_it_was_not_asked_for(cells: list[Cell], tmp_path: Path) -> None:
    asked = select(cells, read_only(["attack=badnet,objective=mmcl,repair=none"]))
    assert len(asked) == 1
    pretrain = next(stage for stage in plan(Store(tmp_path), asked).stages if stage.stage == "pretrain")
    assert pretrain.total == 2
