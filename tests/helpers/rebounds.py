"""A store with a finished suite that asks for a rebound, and made-up trajectories of its models; no model was made."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from benchmark.config.rebound import Rebound
from benchmark.config.spec import Suite
from benchmark.data.skipped import KINDS
from benchmark.engine.document import write_suite
from benchmark.repairs.fine_tuning import FineTuning
from benchmark.stages import measuring
from benchmark.stages.cells import Cell
from benchmark.stages.evaluations import ModelRef, evaluate_key, own_conditions
from benchmark.stages.keys import cells_of, defend_key
from benchmark.stages.rebounds import Trajectory, controls, rebound_key, rebound_of, trajectories
from benchmark.stages.record import write_record
from benchmark.stages.selection import Selected
from benchmark.store.artifacts import Store
from benchmark.store.schemas import REBOUND
from benchmark.types import proportion
from tests.helpers import finished
from tests.helpers.metrics import outcome_table

EPOCH = 5
ASKED = Rebound(steps=(0, 10, 20), scopes=("full",), batch_size=16, seeds=1)
TOTAL = 100
NONE = {kind: {"count": 0, "keys": []} for kind in KINDS}  # no row was skipped


def suite(**more: Any) -> Suite:
    """One attacked model, one repair at its defaults, two seeds, of which the first is asked for."""
    fields: dict[str, Any] = {"repairs": (FineTuning(epochs=EPOCH, learning_rate=1e-3),), "rebound": ASKED}
    return finished.made_up(**{"seeds": (0, 1)} | fields | more)


def repaired(suite: Suite) -> Cell:
    """The attacked and repaired cell of the first seed."""
    return next(cell for cell in cells_of(suite) if cell.experiment.repair and cell.experiment.attack)


def weights(cell: Cell) -> ModelRef:
    """What the repair at its defaults gave."""
    assert cell.experiment.repair is not None
    return ModelRef("defend", defend_key(cell, cell.experiment.repair), EPOCH)


def finish(root: Path, suite: Suite) -> Store:
    """Writes data, weights, outcomes, records and the suite's document."""
    store = Store(root)
    for cell in cells_of(suite):
        keys, repair = cell.keys, cell.experiment.repair
        for key in (keys.data, keys.evaluation):
            store.draft("data", key).commit({"class_names": ["a", "b", "ring"], "splits": {"pretrain": 100}} | NONE)
        for key in (keys.twin, keys.pretrain):
            _weights(store, "pretrain", key, "model")
        finished._outcomes(store, cell)
        choice = Selected("undefended", "ok", artifact=keys.pretrain)
        if repair:
            model = weights(cell)
            _weights(store, "defend", model.key, f"epoch-{EPOCH:04d}", status="ok", epochs=EPOCH)
            for item in own_conditions(cell):
                table = outcome_table(item.name, "zero_shot", target_rank=[1, 1], predicted=[0, 0])
                draft = store.draft(
                    "evaluate", evaluate_key(cell, item, split="test", model=model.key, epoch=model.epoch)
                )
                pq.write_table(table, draft.path("outcomes.parquet"))
                draft.commit({"condition": item.name, "target": None, "attack": None, "model": model._asdict()})
            choice = Selected("default", "ok", repair=repair, artifact=model.key, epoch=EPOCH, trials=1)
        write_record(store, cell, suite.name, [choice], environment={})
    write_suite(store, suite, cells_of(suite), command="backstop run", environment={})
    return store


def _weights(store: Store, stage: str, key: str, name: str, **facts: Any) -> None:
    draft = store.draft(stage, key)
    draft.path(f"{name}.safetensors").write_bytes(b"weights")
    draft.commit(facts)


def grow(store: Store, cell: Cell, model: ModelRef, trajectory: Trajectory, hits: Sequence[int], **facts: Any) -> str:
    """Writes a trajectory: of TOTAL triggered images so many are taken for the target at each step; its key."""
    rows = []
    for step, count in zip(trajectory.steps, hits, strict=False):
        asr = proportion("attack_success_rate", "zero_shot", count, TOTAL)
        accuracy = proportion("clean_accuracy", "zero_shot", 80 - step, TOTAL)
        rows += [{"step": step} | measuring.finite(item) for item in (accuracy, asr)]
    key = rebound_key(cell, model, trajectory)
    draft = store.draft("rebound", key)
    pq.write_table(pa.Table.from_pylist(rows, schema=REBOUND), draft.path("rebound.parquet"))
    of = {"poison": cell.keys.poison, "evaluation": cell.keys.evaluation, "seed": cell.experiment.seed}
    said = {"model": model._asdict(), "trajectory": trajectory.model_dump(mode="json"), "reason": ""}
    draft.commit(of | said | facts)
    return key


def grow_all(store: Store, suite: Suite) -> list[str]:
    """What the suite asks for: of the repaired model ASR rises, of the undefended it stays, of the twin it is low."""
    cell, asked = repaired(suite), rebound_of(suite)
    assert asked is not None
    undefended, twin = controls(cell)
    found = []
    for trajectory in trajectories(asked):
        found.append(grow(store, cell, weights(cell), trajectory, [10, 50, 30]))
        found.append(grow(store, cell, undefended, trajectory, [90, 90, 90]))
        found.append(grow(store, cell, twin, trajectory, [2, 4, 6]))
    return found
