"""Which repaired weights a rebound begins with: what a finished record stands on, as far as the store has it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pyarrow.parquet as pq

from benchmark.config.rebound import Rebound as Asked
from benchmark.errors import NotApplicable
from benchmark.stages.cells import Cell
from benchmark.stages.evaluations import ModelRef
from benchmark.stages.kept import stored_epochs
from benchmark.stages.label import cell_label
from benchmark.stages.node import Ended, Node, Ref, Rows, Stage, Workplace
from benchmark.stages.rebound import Rebound, trajectory_work
from benchmark.stages.rebounds import controls, trajectories
from benchmark.store.artifacts import Store


class Repaired(Stage):
    """Looks at a record once it is there, and asks for the trajectories of its weights and of both controls."""

    name = "repaired"
    title = Rebound.title
    counts_for = Rebound.name
    place = "driver"
    shown = False
    lasting = False
    finished = True

    def __init__(self, asked: Asked, seeds: Iterable[int]) -> None:
        """`asked` has its learning rates; `seeds` are the suite's that are asked for."""
        self.asked, self.seeds = asked, frozenset(seeds)

    def nodes(self, cell: Cell, rows: Rows) -> Iterable[Node]:
        """One for each rule of a repaired cell under attack."""
        experiment = cell.experiment
        if experiment.repair is None or experiment.attack is None or experiment.seed not in self.seeds:
            return
        work = sum(trajectory_work(cell, item) for item in trajectories(self.asked))
        for selection in self.asked.selections if experiment.search else ("default",):
            record = Ref("record", cell.keys.record)
            label = f"{cell_label(experiment)} · {selection}"
            key = f"{record.key}-{selection}"
            yield Node(self, key, label, after=(record,), work=work, arguments=(cell, selection))

    def run(self, nodes: Sequence[Node], at: Workplace) -> Mapping[str, Any]:
        """The `model` that a rule chose; None where it chose none, or the record is to be tried again.

        Raises:
            NotApplicable: the store has the record, and not what a trajectory begins with.
        """
        cell, selection = nodes[0].arguments
        model = chosen_weights(at.store, cell, selection)
        gone = model and _gone(at.store, cell, model)
        if gone:
            raise NotApplicable(f"{gone} not in this store; to fine-tune them, name a store that has them with --from")
        return {"model": model}

    def then(self, node: Node, ended: Ended) -> Iterable[Node]:
        """Trajectories of the weights, and of the controls, which many ask for and one makes."""
        if ended.ok and ended.facts["model"]:
            cell, _ = node.arguments
            for model in (ended.facts["model"], *controls(cell)):
                yield from (Rebound().node(cell, model, item) for item in trajectories(self.asked))

    def ahead(self, node: Node, store: Store) -> Iterable[Node] | None:
        """The trajectories; before the weights are chosen, others in their place."""
        cell, _ = node.arguments
        facts = store.facts("record", cell.keys.record)
        if facts and facts["final"]:
            try:
                ended = Ended("ok", facts=self.run((node,), Workplace(store)))
            except NotApplicable:
                return ()
        else:
            ended = Ended("ok", facts={"model": ModelRef("defend", node.key, 0)})
        return self.then(node, ended)


def chosen_weights(store: Store, cell: Cell, selection: str) -> ModelRef | None:
    """The repaired weights that a final record stands on under a rule; None where there are none."""
    found = store.find("record", cell.keys.record)
    if found is None or not found.facts["final"]:
        return None
    columns = ["selection", "status", "epoch", "artifacts"]
    rows = pq.read_table(found.path("records.parquet"), columns=columns).to_pylist()
    row = next((row for row in rows if row["selection"] == selection and row["status"] == "ok"), None)
    if row is None or row["epoch"] is None:
        return None
    return ModelRef("defend", json.loads(row["artifacts"])["weights"], row["epoch"])


def _gone(store: Store, cell: Cell, model: ModelRef) -> str:
    """What a trajectory needs and the store lacks, in words; "" where all is there."""
    keys = cell.keys
    artifact = store.find("defend", model.key)
    if artifact is None or model.epoch not in stored_epochs(artifact.hashes):
        return "the repaired weights are"
    models = [store.find("pretrain", key) for key in (keys.pretrain, keys.twin)]
    if not all(found and "model.safetensors" in found.hashes for found in models):  # published ones are facts alone
        return "the models that were repaired are"
    if not all(store.has("data", key) for key in (keys.data, keys.evaluation)):
        return "the prepared pairs are"
    return "" if store.has("poison", keys.poison or "") else "the triggers are"
