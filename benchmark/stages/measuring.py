"""From stored outcomes and scores to measures: which tables stand behind a model's numbers, and their reduction."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from benchmark.config.spec import Gate
from benchmark.evaluation.measure import measures, score_measures
from benchmark.metrics.attack_success_rate import AttackSuccessRate
from benchmark.metrics.clean_accuracy import CleanAccuracy
from benchmark.stages.cells import Cell
from benchmark.stages.common import required
from benchmark.stages.conditions import (
    ConditionSpec,
    evaluate_key,
    outside_condition,
    own_conditions,
    transforms,
    triggered_conditions,
)
from benchmark.store.artifacts import Store
from benchmark.types import Measure, Transform, proportion


class Source(NamedTuple):
    """One stored table behind a record: a row of `schemas.SOURCE`."""

    role: str
    stage: str
    key: str
    file: str
    transform: Transform | None = None  # of the model
    model_stage: str | None = None
    model: str | None = None
    epoch: int | None = None
    split: str | None = None


def evaluation(cell: Cell, condition: ConditionSpec, *, role: str, model: str, epoch: int | None, split: str) -> Source:
    """The outcomes of a model under a condition; of a repaired model the epoch says which weights."""
    key = evaluate_key(cell, condition, split=split, model=model, epoch=epoch)
    stage = "pretrain" if epoch is None else "defend"
    return Source(role, "evaluate", key, "outcomes.parquet", condition.transform, stage, model, epoch, split)


def _shown(condition: ConditionSpec) -> str:
    return condition.geometry or ("triggered" if condition.attack else "clean")


def model_sources(cell: Cell, *, model: str, epoch: int | None, split: str) -> list[Source]:
    """Behind the numbers of a model: its own outcomes, and those of the clean twin under the cell's trigger."""
    own = [
        evaluation(cell, item, role=f"own_{_shown(item)}", model=model, epoch=epoch, split=split)
        for item in own_conditions(cell)
    ]
    return own + [
        evaluation(cell, item, role="twin_triggered", model=cell.keys.twin, epoch=None, split=split)
        for item in triggered_conditions(cell)
    ]


def repaired_twin_sources(cell: Cell, model: str, epoch: int) -> list[Source]:
    """Behind the repaired floors."""
    return [
        evaluation(cell, item, role="repaired_twin_triggered", model=model, epoch=epoch, split="test")
        for item in triggered_conditions(cell)
    ]


def outside_sources(cell: Cell) -> list[Source]:
    """Behind the accuracy of a model from outside; none where nobody asks for one."""
    model = cell.keys.outside
    if model is None:
        return []
    return [evaluation(cell, outside_condition(), role="outside_clean", model=model, epoch=None, split="test")]


def gate_sources(cell: Cell) -> list[Source]:
    """What the gate compares clean accuracy with, beside the attacked model's own outcomes."""
    if cell.experiment.attack is None:
        return []
    clean = ConditionSpec(None, None, None)  # without a target, as the twin's own cell evaluates it
    return [evaluation(cell, clean, role="twin_clean", model=cell.keys.twin, epoch=None, split="test")]


def search_sources(cell: Cell) -> list[Source]:
    """What a search compares with on validation: the undefended model, clean, and its twin under the trigger."""
    own, keys = own_conditions(cell), cell.keys
    found = [evaluation(cell, own[0], role="validation_start", model=keys.pretrain, epoch=None, split="validation")]
    if cell.experiment.attack:
        # own[1] is the attack on the model as it is: searches look at no transformed one
        found.append(evaluation(cell, own[1], role="validation_floor", model=keys.twin, epoch=None, split="validation"))
    return found


def score_sources(cell: Cell) -> list[Source]:
    """Behind a detector's numbers."""
    assert cell.keys.detect is not None
    return [Source("scores", "detect", cell.keys.detect, "scores.parquet", None, "pretrain", cell.keys.pretrain)]


def read(store: Store, source: Source) -> pa.Table:
    """The table of a source.

    Raises:
        LookupError: it is not in the store.
    """
    return pq.read_table(required(store, source.stage, source.key).path(source.file))


def outcomes(
    store: Store, cell: Cell, condition: ConditionSpec, *, model: str, epoch: int | None, split: str
) -> pa.Table:
    """The stored outcomes of one model under one condition."""
    return read(store, evaluation(cell, condition, role="own", model=model, epoch=epoch, split=split))


def measure_model(store: Store, cell: Cell, *, model: str, epoch: int | None, split: str) -> list[Measure]:
    """Every metric of one model on a split; under the cell's attack, floor and net ASR of each read-out too.

    Measures of the transformed model carry its name: `clean_accuracy@int8`.
    """
    found, target = [], target_index(store, cell)
    sources = model_sources(cell, model=model, epoch=epoch, split=split)
    for transform in (None, *transforms(cell)):
        of_form = [source for source in sources if source.transform == transform]
        twins = [read(store, source) for source in of_form if source.role == "twin_triggered"]
        own = measures([read(store, each) for each in of_form if each.role != "twin_triggered"], target=target)
        if twins:
            own = [*own, *floor_and_net(own, measures(twins, target=target, metrics=[AttackSuccessRate()]))]
        found += [item._replace(name=under(item.name, transform)) for item in own]
    return found


def repaired_floors(store: Store, cell: Cell, model: str, epoch: int) -> list[Measure]:
    """ASR of the repaired clean twin under the cell's trigger: how much a repair itself answers with the target.

    It stands beside the floor and decides nothing, or a repair that answers everything with the target would profit.
    """
    found, target = [], target_index(store, cell)
    for source in repaired_twin_sources(cell, model, epoch):
        rates = measures([read(store, source)], target=target, metrics=[AttackSuccessRate()])
        found += [_about_twin(rate, under("repaired_floor", source.transform)) for rate in rates]
    return found


def under(name: str, transform: str | None) -> str:
    """Name of a measure under a transform of the model."""
    return f"{name}@{transform}" if transform else name


def detection(store: Store, cell: Cell) -> list[Measure]:
    """Every metric of a detector's stored scores; for a detector of models, its verdict."""
    assert cell.keys.detect is not None
    found = required(store, "detect", cell.keys.detect)
    table = pq.read_table(found.path("scores.parquet"))
    if found.facts["unit"] != "model":
        return score_measures(table)
    measured = [
        Measure("suspicion", "detector", float(table["score"][0].as_py()), -1, 1, unit="score", lower=None, upper=None),
        proportion("flagged", "detector", int(found.facts["suspicious"]), 1),
    ]
    target = target_index(store, cell)
    if target is not None and found.facts["target"] is not None:
        hit = proportion("target_found", "detector", int(found.facts["target"] == target), 1)
        measured.append(hit._replace(higher_is_better=True))
    return measured


def outside_accuracy(store: Store, cell: Cell) -> list[Measure]:
    """`auxiliary_clean_accuracy`: how good the model from outside is that the cell's attack or defense used."""
    tables = [read(store, source) for source in outside_sources(cell)]
    found = measures(tables, target=None, metrics=[CleanAccuracy()]) if tables else []
    return [item._replace(name="auxiliary_clean_accuracy") for item in found if item.readout == "zero_shot"]


def floor_and_net(found: Sequence[Measure], twin: Sequence[Measure]) -> list[Measure]:
    """The clean twin's ASR of each read-out, and what the model's own is above it."""
    floors = {item.readout: item for item in twin}
    extra = []
    for item in found:
        if item.name == "attack_success_rate" and item.readout in floors:
            floor = floors[item.readout]
            net = item._replace(name="net_asr", value=item.value - floor.value, count=-1, lower=-1.0)
            extra += [_about_twin(floor, "floor"), net]
    return extra


def _about_twin(rate: Measure, name: str) -> Measure:
    """A rate of the clean twin, in which neither direction is a merit of the cell's model."""
    return rate._replace(name=name, higher_is_better=None)


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


def finite(item: Measure) -> dict[str, Any]:
    """A measure as a row of its schema, in which what is no number is null."""
    return item._asdict() | {"value": item.value if math.isfinite(item.value) else None}
