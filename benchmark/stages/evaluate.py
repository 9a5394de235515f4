"""`evaluate`: outcomes of one model under one condition."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from benchmark.stages.cells import Cell, twin_cell
from benchmark.stages.evaluations import REPAIRED_TWIN, Evaluation, of_outside, of_undefended
from benchmark.stages.inputs import prepared, suspect
from benchmark.stages.label import cell_label, model_label
from benchmark.stages.node import Node, Ref, Rows, Stage, Workplace
from benchmark.stages.outside import outside_of


class Evaluate(Stage):
    """Evaluates a model; one pass serves all its conditions that are ready together."""

    name = "evaluate"
    title = "evaluate"
    rank = 1  # short, and what it opens is long
    of_model = True

    def nodes(self, cell: Cell, rows: Rows) -> Iterable[Node]:
        """Of the undefended model, of its twin, and of a model from outside, on test."""
        return [self.node(cell, item) for item in (*of_undefended(cell), *of_outside(cell))]

    def node(self, cell: Cell, item: Evaluation) -> Node:
        """One model under one condition on one split."""
        model, condition, split = item.model, item.condition, item.split
        poison = (Ref("poison", condition.poison),) if condition.poison else ()
        # a repaired model is kept as what differs from the one that was repaired, the suspect or its twin
        base = (*suspect(cell), Ref("pretrain", cell.keys.twin)) if model.stage == "defend" else ()
        splits = cell.experiment.splits
        return Node(
            self,
            item.key(cell),
            f"{_model_label(cell, item)} · {split}",
            (*prepared(cell), *base, Ref(model.stage, model.key), *poison),
            work=(splits.validation if split == "validation" else splits.test) / 3,  # no gradients: a third of a view
            arguments=(cell, model, condition, split),
            batch=f"{model.key}-{model.epoch}-{split}",
        )

    def label(self, nodes: Sequence[Node]) -> str:
        """The model, the split and every condition."""
        return f"{nodes[0].label} · " + " + ".join(node.arguments[2].name for node in nodes)

    def run(self, nodes: Sequence[Node], at: Workplace) -> Mapping[str, Any]:
        """Encodes texts and clean features once for all conditions."""
        from benchmark.stages.work.evaluate import evaluate_stage

        cell, model, _, split = nodes[0].arguments
        evaluate_stage(at.store, cell, model, [node.arguments[2] for node in nodes], split, at.compute, tick=at.tick)
        return {}


def _model_label(cell: Cell, item: Evaluation) -> str:
    model = item.model
    if model.stage == "defend":
        repaired = twin_cell(cell) if item.role == REPAIRED_TWIN else cell
        return f"{cell_label(repaired.experiment)} · epoch {model.epoch}"
    if model.key == cell.keys.retrained:
        return cell_label(cell.experiment)
    if model.key == cell.keys.outside:
        return "outside · " + model_label(outside_of(cell.experiment))
    if model.key == cell.keys.twin:
        return model_label(twin_cell(cell).experiment)
    return model_label(cell.experiment)
