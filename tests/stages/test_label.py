"""Labels of nodes: equal ones are of the same thing, and an evaluation is called by the model that is looked at."""

from __future__ import annotations

import pytest

from benchmark.engine.suites import resolve
from benchmark.repairs.cleanclip import CleanCLIP
from benchmark.stages.evaluate import Evaluate
from benchmark.stages.evaluations import Evaluation, ModelRef, of_model, of_repaired_twin, of_undefended
from benchmark.stages.keys import cells_of
from benchmark.stages.label import cell_label, model_label, poison_label
from tests.helpers.finished import made_up

pytestmark = pytest.mark.unit


def test_a_label_tells_seeds_apart() -> None:
    cells = resolve("smoke", ["seeds=[0,1]"]).suite.experiments()
    poisons = {poison_label(cell) for cell in cells}
    assert len(poisons) == 2 * 2 + 1  # and none of a clean model
    later = {label for label in poisons if label.endswith(" · seed 1")}
    assert len(later) == 2 and {label.removesuffix(" · seed 1") for label in later} < poisons
    assert len({cell_label(cell) for cell in cells}) == len(cells)
    assert len({model_label(cell) for cell in cells}) == 2 * 3 * 2


def test_an_evaluation_is_called_by_its_model() -> None:
    cell = cells_of(made_up(repairs=(CleanCLIP(),)))[-1]
    repaired = ModelRef("defend", "0" * 32, 2)

    def labels(items: list[Evaluation]) -> list[str]:
        return [Evaluate().node(cell, item).label for item in items]

    assert labels(of_model(cell, repaired)) == ["mmcl · badnet · cleanclip · epoch 2 · test"] * 2
    assert labels(of_repaired_twin(cell, repaired)) == ["mmcl · clean · cleanclip · epoch 2 · test"]
    own, twin = ["mmcl · badnet · test"] * 2, ["mmcl · clean · test"] * 2
    assert labels(of_undefended(cell)) == own + twin
