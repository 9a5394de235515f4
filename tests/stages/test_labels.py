"""What progress calls an evaluation: the model that is looked at, not the cell that asked for it."""

from __future__ import annotations

import pytest

from benchmark.repairs.cleanclip import CleanCLIP
from benchmark.stages.cells import cells_of
from benchmark.stages.conditions import ModelRef
from benchmark.stages.evaluate import Evaluate
from benchmark.stages.evaluations import Evaluation, of_model, of_repaired_twin, of_undefended
from tests.helpers.finished import made_up

pytestmark = pytest.mark.unit


def test_an_evaluation_is_called_by_its_model() -> None:
    cell = cells_of(made_up(repairs=(CleanCLIP(),)))[-1]
    repaired = ModelRef("defend", "0" * 32, 2)

    def labels(items: list[Evaluation]) -> list[str]:
        return [Evaluate().node(cell, item).label for item in items]

    assert labels(of_model(cell, repaired)) == ["mmcl · badnet · cleanclip · epoch 2 · test"] * 2
    assert labels(of_repaired_twin(cell, repaired)) == ["mmcl · clean · cleanclip · epoch 2 · test"]
    own, twin = ["mmcl · badnet · test"] * 2, ["mmcl · clean · test"] * 2
    assert labels(of_undefended(cell)) == own + twin
