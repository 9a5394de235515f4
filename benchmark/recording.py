"""Records: the immutable rows of a cell, made from stored outcomes by arithmetic alone."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from benchmark import graph, records
from benchmark.graph import Cell, Condition
from benchmark.metrics.reduce import measures
from benchmark.planning import FINAL, axes
from benchmark.records import Measure
from benchmark.spec import Gate
from benchmark.store import Store
from benchmark.types import Repair


class Choice(NamedTuple):
    """What a selection rule chose for a cell: weights to evaluate, or the reason why there are none."""

    selection: str
    status: str
    reason: str = ""
    repair: Repair | None = None
    artifact: str | None = None  # key of the pretrain or defend artifact
    trial: int | None = None
    epoch: int | None = None
    trials: int = 0  # trials behind the rule
    wall_s: float = 0.0
    clean_pairs: int = 0


def outcomes(store: Store, cell: Cell, condition: Condition, *, model: str, epoch: int | None, split: str) -> pa.Table:
    """The stored outcomes of one model under one condition."""
    key = graph.evaluate_key(cell, condition, split=split, model=model, epoch=epoch)
    found = store.find("evaluate", key)
    if found is None:
        raise LookupError(f"evaluate/{key} is not in store {store.root}; run the suite again")
    return pq.read_table(found.path("outcomes.parquet"))


def measure_model(store: Store, cell: Cell, *, model: str, epoch: int | None, split: str) -> list[Measure]:
    """Every metric of one model on a split; under the cell's attack, floor and net ASR of each read-out too."""
    conditions = graph.own_conditions(cell)
    tables = [outcomes(store, cell, item, model=model, epoch=epoch, split=split) for item in conditions]
    target = target_index(store, cell)
    found = measures(tables, target=target)
    if cell.experiment.attack is None:
        return found
    floors = measures(
        [outcomes(store, cell, conditions[1], model=cell.keys.twin, epoch=None, split=split)], target=target
    )
    return [*found, *_floor_and_net(found, floors)]


def _floor_and_net(found: Sequence[Measure], twin: Sequence[Measure]) -> list[Measure]:
    floors = {item.readout: item for item in twin if item.name == "attack_success_rate"}
    extra = []
    for item in found:
        if item.name == "attack_success_rate" and item.readout in floors:
            floor = floors[item.readout]
            extra.append(floor._replace(name="floor"))
            extra.append(Measure("net_asr", item.readout, item.value - floor.value, -1, item.total, item.version))
    return extra


def target_index(store: Store, cell: Cell) -> int | None:
    """Class index of the cell's target; None without an attack."""
    if cell.keys.poison is None:
        return None
    found = store.find("poison", cell.keys.poison)
    return found.facts["target_index"] if found else None


def value(found: Sequence[Measure], name: str, readout: str = "zero_shot") -> float:
    """One number of a list of measures; NaN where it is not there."""
    return next((item.value for item in found if (item.name, item.readout) == (name, readout)), math.nan)


def planted(own: Sequence[Measure], twin: Sequence[Measure], gate: Gate) -> str:
    """ "" where the attack planted, else why not (protocol section 6, validity gate)."""
    asr = value(own, "attack_success_rate")
    drop = value(twin, "clean_accuracy") - value(own, "clean_accuracy")
    if not asr >= gate.min_asr:
        return f"undefended ASR {asr:.3f}, the gate asks for {gate.min_asr:g}"
    if drop > gate.max_accuracy_drop:
        return f"clean accuracy {drop:.3f} below the clean twin, the gate allows {gate.max_accuracy_drop:g}"
    return ""


def write_record(
    store: Store,
    cell: Cell,
    suite: str,
    choices: Sequence[Choice],
    *,
    environment: Mapping[str, Any],
    trials: Sequence[Mapping[str, Any]] = (),
) -> None:
    """Writes a cell's record rows and, where it was searched, the table of its trials."""
    draft = store.draft("record", cell.keys.record)
    rows = [_row(store, cell, suite, choice, environment) for choice in choices]
    pq.write_table(pa.Table.from_pylist(rows, schema=records.RECORDS), draft.path("records.parquet"))
    if trials:
        pq.write_table(pa.Table.from_pylist(list(trials), schema=records.TRIALS), draft.path("trials.parquet"))
    statuses = {choice.selection: choice.status for choice in choices}
    draft.commit({"statuses": statuses, "final": all(status in FINAL for status in statuses.values())})


def _row(store: Store, cell: Cell, suite: str, choice: Choice, environment: Mapping[str, Any]) -> dict[str, Any]:
    experiment = cell.experiment
    measured = choice.artifact is not None and choice.status in ("ok", "attack_did_not_plant")
    found = (
        measure_model(store, cell, model=choice.artifact, epoch=_epoch(choice), split="test")
        if measured and choice.artifact
        else []
    )
    return axes(experiment) | {
        "schema_version": records.SCHEMA_VERSION,
        "suite": suite,
        "cell": cell.keys.record,
        "selection": choice.selection,
        "status": choice.status,
        "reason": choice.reason,
        "trial": choice.trial,
        "epoch": choice.epoch,
        "parameters": json.dumps((choice.repair or experiment.repair).model_dump(mode="json"), sort_keys=True)
        if experiment.repair
        else "{}",
        "trials_behind_rule": choice.trials,
        "measures": [_finite(item) for item in found],
        "clean_pairs": choice.clean_pairs,
        "wall_s": choice.wall_s,
        "device": environment.get("device", ""),
        "environment": json.dumps(environment, sort_keys=True),
        "specification": json.dumps(experiment.model_dump(mode="json"), sort_keys=True),
        "artifacts": json.dumps(dict(cell.keys._asdict(), weights=choice.artifact), sort_keys=True),
    }


def _epoch(choice: Choice) -> int | None:
    return None if choice.selection == "undefended" else choice.epoch


def _finite(item: Measure) -> dict[str, Any]:
    return item._asdict() | {"value": item.value if math.isfinite(item.value) else None}


def trial_rows(
    cell: Cell, result: Any, epochs: Sequence[Mapping[str, Any]], *, artifact: str, strength: float | None
) -> list[dict[str, Any]]:
    """Rows of `records.TRIALS`: one per measured epoch of a trial, one empty row for a trial that measured none."""
    head = {
        "cell": cell.keys.record,
        "trial": result.trial,
        "phase": result.phase,
        "round": result.round,
        "parameters": json.dumps(result.parameters, sort_keys=True),
        "strength": strength,
        "status": result.status,
        "reason": result.reason,
        "artifact": artifact,
        "wall_s": result.wall_s,
    }
    return [head | dict(epoch) for epoch in epochs] or [head]
