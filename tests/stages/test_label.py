"""Labels of nodes: equal ones are of the same thing."""

from __future__ import annotations

from benchmark.engine.suites import resolve
from benchmark.stages.label import cell_label, model_label, poison_label


def test_a_label_tells_seeds_apart() -> None:
    cells = resolve("smoke", ["seeds=[0,1]"]).suite.experiments()
    poisons = {poison_label(cell) for cell in cells}
    assert sorted(label[:7] + label[-9:] for label in poisons if "seed" in label) == [
        "badnet( · seed 1",
        "blended · seed 1",
    ]
    assert len(poisons) == 2 * 2 + 1  # and none of a clean model
    assert len({cell_label(cell) for cell in cells}) == len(cells)
    assert len({model_label(cell) for cell in cells}) == 2 * 3 * 2
