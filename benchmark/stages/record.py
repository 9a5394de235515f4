"""Records: the immutable rows of a cell, made from stored outcomes by arithmetic alone."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from benchmark.config.spec import Experiment, Gate
from benchmark.data.skipped import skipped
from benchmark.evaluation.measure import measures, score_measures
from benchmark.metrics.attack_success_rate import AttackSuccessRate
from benchmark.metrics.clean_accuracy import CleanAccuracy
from benchmark.stages.conditions import (
    ConditionSpec,
    evaluate_key,
    outside_condition,
    own_conditions,
    transforms,
    triggered_conditions,
)
from benchmark.stages.graph import Cell
from benchmark.store import schemas
from benchmark.store.artifacts import Store
from benchmark.types import Measure, Repair, proportion

# Statuses that a later run does not try again.
FINAL = frozenset({"ok", "not_applicable", "attack_did_not_plant", "repair_failed"})


class RepairedTwin(NamedTuple):
    """The clean twin after the cell's repair at its defaults."""

    artifact: str  # key of the defend artifact
    epoch: int


class Selected(NamedTuple):
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
    detected: bool = False  # a detector's scores stand beside the measures of the weights
    repaired_twin: RepairedTwin | None = None  # weights whose ASR is the repaired floor


def outcomes(
    store: Store, cell: Cell, condition: ConditionSpec, *, model: str, epoch: int | None, split: str
) -> pa.Table:
    """The stored outcomes of one model under one condition."""
    key = evaluate_key(cell, condition, split=split, model=model, epoch=epoch)
    found = store.find("evaluate", key)
    if found is None:
        raise LookupError(f"evaluate/{key} is not in store {store.root}; run the suite again")
    return pq.read_table(found.path("outcomes.parquet"))


def measure_model(store: Store, cell: Cell, *, model: str, epoch: int | None, split: str) -> list[Measure]:
    """Every metric of one model on a split; under the cell's attack, floor and net ASR of each read-out too.

    Measures of the transformed model carry its name: `clean_accuracy@int8`.
    """
    found, target = [], target_index(store, cell)
    for transform in (None, *transforms(cell)):
        conditions = [item for item in own_conditions(cell) if item.transform == transform]
        tables = [outcomes(store, cell, item, model=model, epoch=epoch, split=split) for item in conditions]
        own = measures(tables, target=target)
        if cell.experiment.attack is not None:
            floors = outcomes(store, cell, conditions[1], model=cell.keys.twin, epoch=None, split=split)
            own = [*own, *_floor_and_net(own, measures([floors], target=target, metrics=[AttackSuccessRate()]))]
        found += [item._replace(name=under(item.name, transform)) for item in own]
    return found


def repaired_floors(store: Store, cell: Cell, twin: RepairedTwin) -> list[Measure]:
    """ASR of the repaired clean twin under the cell's trigger: how much a repair itself answers with the target.

    It stands beside the floor and decides nothing, or a repair that answers everything with the target would profit.
    """
    found, target = [], target_index(store, cell)
    for item in triggered_conditions(cell):
        table = outcomes(store, cell, item, model=twin.artifact, epoch=twin.epoch, split="test")
        rates = measures([table], target=target, metrics=[AttackSuccessRate()])
        found += [rate._replace(name=under("repaired_floor", item.transform)) for rate in rates]
    return found


def under(name: str, transform: str | None) -> str:
    """Name of a measure under a transform of the model."""
    return f"{name}@{transform}" if transform else name


def detection(store: Store, cell: Cell) -> list[Measure]:
    """Every metric of a detector's stored scores; for a detector of models, its verdict."""
    assert cell.keys.detect is not None
    found = store.find("detect", cell.keys.detect)
    if found is None:
        raise LookupError(f"detect/{cell.keys.detect} is not in store {store.root}; run the suite again")
    table = pq.read_table(found.path("scores.parquet"))
    if found.facts["unit"] != "model":
        return score_measures(table)
    measured = [
        Measure("suspicion", "detector", float(table["score"][0].as_py()), -1, 1),
        proportion("flagged", "detector", int(found.facts["suspicious"]), 1),
    ]
    target = target_index(store, cell)
    if target is not None and found.facts["target"] is not None:
        measured.append(proportion("target_found", "detector", int(found.facts["target"] == target), 1))
    return measured


def outside_accuracy(store: Store, cell: Cell) -> list[Measure]:
    """`auxiliary_clean_accuracy`: how good the model from outside is that the cell's attack or defense used."""
    if cell.keys.outside is None:
        return []
    table = outcomes(store, cell, outside_condition(), model=cell.keys.outside, epoch=None, split="test")
    found = measures([table], target=None, metrics=[CleanAccuracy()])
    return [item._replace(name="auxiliary_clean_accuracy") for item in found if item.readout == "zero_shot"]


def _floor_and_net(found: Sequence[Measure], twin: Sequence[Measure]) -> list[Measure]:
    """The clean twin's ASR of each read-out, and what the model's own is above it."""
    floors = {item.readout: item for item in twin}
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


def planted(own: Sequence[Measure], twin: Sequence[Measure], gate: Gate, *, transform: str | None = None) -> str:
    """ "" where the attack planted, else why not (protocol section 6, validity gate).

    An attack that waits for a transform of the model must succeed under it. A rate that is no number plants nothing.
    """
    net = gate.min_asr_on == "net"
    asr = value(own, under("net_asr" if net else "attack_success_rate", transform))
    drop = value(twin, "clean_accuracy") - value(own, "clean_accuracy")
    if not asr >= gate.min_asr:
        return f"undefended {'net ASR' if net else 'ASR'} {asr:.3f}, the gate asks for {gate.min_asr:g}"
    if drop > gate.max_accuracy_drop:
        return f"clean accuracy {drop:.3f} below the clean twin, the gate allows {gate.max_accuracy_drop:g}"
    return ""


def axes(experiment: Experiment) -> dict[str, Any]:
    """Where a cell stands in the grid, as records and the suite's document name it."""
    return {
        "dataset": experiment.data.name,
        "model": experiment.model.name,
        "objective": experiment.objective.label,
        "attack": experiment.attack.label if experiment.attack else "none",
        "repair": experiment.repair.label if experiment.repair else "none",
        "detector": experiment.detector.label if experiment.detector else "none",
        "seed": experiment.seed,
        "searched": experiment.search is not None,
    }


def write_record(
    store: Store,
    cell: Cell,
    suite: str,
    choices: Sequence[Selected],
    *,
    environment: Mapping[str, Any],
    trials: Sequence[Mapping[str, Any]] = (),
) -> None:
    """Writes a cell's record rows and, where it was searched, the table of its trials."""
    draft = store.draft("record", cell.keys.record)
    rows = [_row(store, cell, suite, choice, environment) for choice in choices]
    pq.write_table(pa.Table.from_pylist(rows, schema=schemas.RECORDS), draft.path("records.parquet"))
    if trials:
        pq.write_table(pa.Table.from_pylist(list(trials), schema=schemas.TRIALS), draft.path("trials.parquet"))
    statuses = {choice.selection: choice.status for choice in choices}
    facts = {"statuses": statuses, "final": all(status in FINAL for status in statuses.values())}
    left_out = skipped_rows(store, cell)
    draft.commit(facts | ({"skipped": left_out} if left_out else {}))


def skipped_rows(store: Store, cell: Cell) -> list[dict[str, Any]]:
    """What the cell's data sets left out, see `data.skipped`; [] where nothing, or nothing is prepared yet."""
    experiment, keys = cell.experiment, cell.keys
    sets = {keys.evaluation: experiment.evaluation or experiment.data, keys.data: experiment.data}
    if keys.outside_data:
        sets = {keys.outside_data: experiment.data} | sets
    prepared = [(dataset.name, store.facts("data", key)) for key, dataset in reversed(sets.items())]
    return [found for name, facts in prepared if facts and (found := skipped(name, facts))]


def _row(store: Store, cell: Cell, suite: str, choice: Selected, environment: Mapping[str, Any]) -> dict[str, Any]:
    experiment = cell.experiment
    measured = choice.artifact is not None and choice.status in ("ok", "attack_did_not_plant")
    found = (
        measure_model(store, cell, model=choice.artifact, epoch=_epoch(choice), split="test")
        if measured and choice.artifact
        else []
    )
    if choice.repaired_twin and choice.status == "ok":
        found = [*found, *repaired_floors(store, cell, choice.repaired_twin)]
    if choice.detected and choice.status == "ok":
        found = [*detection(store, cell), *found]
    if measured or (choice.detected and choice.status == "ok"):
        found = [*found, *outside_accuracy(store, cell)]
    method = choice.repair or experiment.repair or experiment.detector
    return axes(experiment) | {
        "schema_version": schemas.SCHEMA_VERSION,
        "suite": suite,
        "cell": cell.keys.record,
        "selection": choice.selection,
        "status": choice.status,
        "reason": choice.reason,
        "trial": choice.trial,
        "epoch": choice.epoch,
        "parameters": json.dumps(method.model_dump(mode="json"), sort_keys=True) if method else "{}",
        "trials_behind_rule": choice.trials,
        "measures": [_finite(item) for item in found],
        "clean_pairs": choice.clean_pairs,
        "wall_s": choice.wall_s,
        "device": environment.get("device", ""),
        "environment": json.dumps(environment, sort_keys=True),
        "specification": json.dumps(experiment.to_dict(), sort_keys=True),
        "artifacts": json.dumps(dict(cell.keys._asdict(), weights=choice.artifact), sort_keys=True),
    }


def _epoch(choice: Selected) -> int | None:
    return None if choice.selection == "undefended" else choice.epoch


def _finite(item: Measure) -> dict[str, Any]:
    return item._asdict() | {"value": item.value if math.isfinite(item.value) else None}


def trial_rows(
    cell: Cell,
    result: Any,
    epochs: Sequence[Mapping[str, Any]],
    *,
    artifact: str,
    strength: float | None,
    floor: float | None,
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
        "validation_floor": floor,
    }
    return [head | dict(epoch) for epoch in epochs] or [head]
