"""Nodes wait for all that their work reads, so that a store in which anything is gone is mended by the same run."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmark.stages.cells import Cell
from benchmark.stages.every import STAGES
from benchmark.stages.gate import Gate
from benchmark.stages.inputs import suspect
from benchmark.stages.keys import cells_of
from benchmark.stages.measuring import target_index
from benchmark.stages.node import Node, Ref
from benchmark.store.artifacts import Store
from benchmark.types import ModelAttack
from suites.kinds import suite as kinds
from suites.smoke import suite as smoke

pytestmark = pytest.mark.unit
MADE = ("poison", "pretrain", "detect", "defend", "search", "evaluate")


def nodes(cell: Cell) -> list[Node]:
    return [node for stage in STAGES for node in stage.nodes(cell, lambda _: 1000)]


@pytest.mark.parametrize("suite", [smoke, kinds])
def test_every_input_of_a_cell_is_a_node_of_the_cell(suite: object) -> None:
    for cell in cells_of(suite()):  # type: ignore[operator]
        mine = nodes(cell)
        names = {node.ref for node in mine}
        for node in mine:
            assert {*node.inputs, *node.after} <= names, (node.label, node.stage.name)


@pytest.mark.parametrize("suite", [smoke, kinds])
def test_whatever_works_on_a_model_waits_for_its_data_and_its_weights(suite: object) -> None:
    for cell in cells_of(suite()):  # type: ignore[operator]
        for node in nodes(cell):
            if node.stage.name not in MADE:
                continue
            read = {ref.stage for ref in node.inputs}
            assert "data" in read, node.label
            if node.stage.name in ("detect", "defend", "search"):
                assert Ref("pretrain", cell.keys.pretrain) in node.inputs
                assert cell.keys.poison is None or Ref("poison", cell.keys.poison) in node.inputs


def test_the_gate_waits_for_the_poison_which_says_what_the_target_is() -> None:
    """Outcomes that stand behind a verdict may be in a store whose poison is damaged."""
    for cell in (cell for cell in cells_of(smoke()) if cell.keys.poison):
        (gate,) = Gate().nodes(cell, lambda _: 1000)
        assert Ref("poison", cell.keys.poison or "") in gate.inputs


def test_without_the_poison_no_number_is_quietly_left_out(tmp_path: Path) -> None:
    attacked = next(cell for cell in cells_of(smoke()) if cell.keys.poison)
    clean = next(cell for cell in cells_of(smoke()) if not cell.keys.poison)
    assert target_index(Store(tmp_path), clean) is None
    with pytest.raises(LookupError, match=r"poison/\w+ is not in store"):
        target_index(Store(tmp_path), attacked)


def test_what_was_implanted_waits_for_the_twin_that_it_is_kept_beside() -> None:
    implanted = [cell for cell in cells_of(kinds()) if isinstance(cell.experiment.attack, ModelAttack)]
    assert implanted
    for cell in implanted:
        assert suspect(cell)[-2:] == (Ref("pretrain", cell.keys.twin), Ref("pretrain", cell.keys.pretrain))
