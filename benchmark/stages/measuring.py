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
from benchmark.stages.evaluations import (
    Evaluation,
    ModelRef,
    of_model,
    of_outside,
    of_repaired_twin,
    of_twin,
    transforms,
)
from benchmark.stats import SLACK
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


def source_of(cell: Cell, item: Evaluation) -> Source:
    """The outcomes of an evaluation."""
    model = item.model
    return Source(
        item.role,
        "evaluate",
        item.key(cell),
        "outcomes.parquet",
        item.condition.transform,
        model.stage,
        model.key,
        model.epoch,
        item.split,
    )


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


def outcomes(store: Store, cell: Cell, item: Evaluation) -> pa.Table:
    """The stored outcomes of an evaluation."""
    return read(store, source_of(cell, item))


def measure_model(store: Store, cell: Cell, model: ModelRef) -> list[Measure]:
    """Every number of a model on test, from stored outcomes: its own, its floor, and what of its ASR is above that.

    Numbers under a transform of the model are called `NAME@TRANSFORM`.
    """
    found, target = [], target_index(store, cell)
    wanted, floors = of_model(cell, model), of_twin(cell)
    for transform in (None, *transforms(cell)):
        own, twins = (
            [outcomes(store, cell, item) for item in part if item.condition.transform == transform]
            for part in (wanted, floors)
        )
        numbers = measures(own, target=target)
        if twins:
            rates = measures(twins, target=target, metrics=[AttackSuccessRate()])
            numbers = [*numbers, *floor_and_net(numbers, rates)]
        found += [item._replace(name=under(item.name, transform)) for item in numbers]
    return found


def repaired_floors(store: Store, cell: Cell, model: ModelRef) -> list[Measure]:
    """ASR of the repaired clean twin under the cell's trigger: how much a repair itself answers with the target.

    It stands beside the floor and decides nothing, or a repair that answers everything with the target would profit.
    """
    found, target = [], target_index(store, cell)
    for item in of_repaired_twin(cell, model):
        rates = measures([outcomes(store, cell, item)], target=target, metrics=[AttackSuccessRate()])
        found += [_about_twin(rate, under("repaired_floor", item.condition.transform)) for rate in rates]
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
    tables = [outcomes(store, cell, item) for item in of_outside(cell)]
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
    """Class index of the cell's target; None without an attack, and where each victim has its own.

    Raises:
        LookupError: the poison is not in the store; without its target every rate would quietly be left out.
    """
    return required(store, "poison", cell.keys.poison).facts["target_index"] if cell.keys.poison else None


def value(found: Sequence[Measure], name: str, readout: str = "zero_shot") -> float:
    """One number of a list of measures; NaN where it is not there."""
    return next((item.value for item in found if (item.name, item.readout) == (name, readout)), math.nan)


def planted(own: Sequence[Measure], twin: Sequence[Measure], gate: Gate, *, transform: str | None = None) -> str:
    """ "" where the attack planted, else why not (protocol section 6, validity gate).

    An attack that waits for a transform of the model must succeed under it. A rate that is no number plants nothing;
    a limit that is met to the digit is met.
    """
    net = gate.min_asr_on == "net"
    asr = value(own, under("net_asr" if net else "attack_success_rate", transform))
    drop = value(twin, "clean_accuracy") - value(own, "clean_accuracy")
    if not asr >= gate.min_asr - SLACK:
        return f"undefended {'net ASR' if net else 'ASR'} {asr:.3f}, the gate asks for {gate.min_asr:g}"
    if not drop <= gate.max_accuracy_drop + SLACK:
        return f"clean accuracy {drop:.3f} below the clean twin, the gate allows {gate.max_accuracy_drop:g}"
    return ""


def finite(item: Measure) -> dict[str, Any]:
    """A measure as a row of its schema, in which what is no number is null."""
    return item._asdict() | {"value": item.value if math.isfinite(item.value) else None}
