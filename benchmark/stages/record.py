"""Records: the immutable rows of a cell, made from stored outcomes by arithmetic alone."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from benchmark.bundle.weights import ROUNDED
from benchmark.config.spec import Experiment
from benchmark.data.skipped import skipped
from benchmark.stages import measuring
from benchmark.stages.cells import Cell
from benchmark.stages.evaluations import (
    Evaluation,
    ModelRef,
    of_model,
    of_outside,
    of_repaired_twin,
    of_search,
    of_twin,
    of_undefended,
)
from benchmark.stages.identities import identity, without_paths
from benchmark.stages.keys import defend_key
from benchmark.stages.measuring import Source, source_of
from benchmark.stages.selection import Selected
from benchmark.store import schemas
from benchmark.store.artifacts import Store
from benchmark.types import Measure
from tuners.selection_rules import Row, search_rules

# Statuses that a later run does not try again.
FINAL = frozenset({"ok", "not_applicable", "attack_did_not_plant", "repair_failed", "refused"})


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
    front: Sequence[Selected] = (),
) -> None:
    """Writes a cell's record rows and, where it was searched, the table of its trials and the validation front."""
    draft = store.draft("record", cell.keys.record)
    rows = [_row(store, cell, suite, choice, environment, trials) for choice in choices]
    pq.write_table(pa.Table.from_pylist(rows, schema=schemas.RECORDS), draft.path("records.parquet"))
    if trials:
        pq.write_table(pa.Table.from_pylist(list(trials), schema=schemas.TRIALS), draft.path("trials.parquet"))
    if front:
        points = [_point_on_front(store, cell, choice) for choice in front]
        pq.write_table(pa.Table.from_pylist(points, schema=schemas.FRONT), draft.path("front.parquet"))
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


def _row(
    store: Store,
    cell: Cell,
    suite: str,
    choice: Selected,
    environment: Mapping[str, Any],
    trials: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    experiment = cell.experiment
    method = choice.repair or experiment.repair or experiment.detector
    code = environment.get("code", {})
    return axes(experiment) | {
        "schema_version": schemas.SCHEMA_VERSION,
        "suite": suite,
        "cell": cell.keys.record,
        "selection": choice.selection,
        "status": choice.status,
        "reason": choice.reason,
        "dataset_settings": _json(without_paths(identity(experiment.data))["fields"]),
        "evaluation": experiment.evaluation.name if experiment.evaluation else None,
        "start_from": _start(experiment),
        "model_settings": _model_settings(store, cell),
        "trial": choice.trial,
        "epoch": choice.epoch,
        "parameters": _json(method.model_dump(mode="json")) if method else "{}",
        "trials_behind_rule": choice.trials,
        "measures": [measuring.finite(item) for item in _measures(store, cell, choice)],
        "clean_pairs": choice.clean_pairs,
        "wall_s": choice.wall_s,
        "device": environment.get("device", ""),
        "environment": _json(environment),
        "specification": _json(experiment.to_dict()),
        "artifacts": _json(dict(cell.keys._asdict(), weights=choice.artifact)),
        "sources": [source._asdict() for source in sources(store, cell, choice)],
        **_effort(store, cell, choice, trials),
        "code_version": code.get("version"),
        "code_commit": code.get("commit"),
        "code_dirty": code.get("dirty"),
    }


def _point_on_front(store: Store, cell: Cell, choice: Selected) -> dict[str, Any]:
    return {
        "cell": cell.keys.record,
        **{name: getattr(choice, name) for name in ("trial", "epoch", "artifact", "status", "reason")},
        "measures": [measuring.finite(item) for item in _measures(store, cell, choice)],
        "sources": [source._asdict() for source in sources(store, cell, choice)],
    }


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def _start(experiment: Experiment) -> str | None:
    """The weights that pre-training began with; None: random ones."""
    model = experiment.model
    named = {name: getattr(model, name) for name in ("pretrained", "weights", "start_from")}
    given = {name: value for name, value in named.items() if value}
    return _json(given) if given else None


def _model_settings(store: Store, cell: Cell) -> str | None:
    """What of the suspect model is neither in its name nor in its start: that its weights were rounded."""
    facts = store.facts("pretrain", cell.keys.pretrain) or {}
    return _json({ROUNDED: facts[ROUNDED]}) if ROUNDED in facts else None


def _measured(choice: Selected) -> ModelRef | None:
    """The weights whose outcomes the row tells of."""
    return choice.model if choice.status in ("ok", "attack_did_not_plant") else None


def _measures(store: Store, cell: Cell, choice: Selected) -> list[Measure]:
    found: list[Measure] = []
    detected, model = choice.detected and choice.status == "ok", _measured(choice)
    if detected:
        found += measuring.detection(store, cell)
    if model:
        found += measuring.measure_model(store, cell, model)
    if choice.repaired_twin and choice.status == "ok":
        found += measuring.repaired_floors(store, cell, choice.repaired_twin)
    if model or detected:
        found += measuring.outside_accuracy(store, cell)
    return found


def sources(store: Store, cell: Cell, choice: Selected) -> list[Source]:
    """Every table behind a row: what its measures reduce, what its rule and its gate compared with, its epochs."""
    detected, model = choice.detected and choice.status == "ok", _measured(choice)
    behind: list[Evaluation] = []
    if model:
        behind += of_undefended(cell) if choice.selection == "undefended" else [*of_model(cell, model), *of_twin(cell)]
    if choice.repaired_twin and choice.status == "ok":
        behind += of_repaired_twin(cell, choice.repaired_twin)
    if model or detected:
        behind += of_outside(cell)
    if cell.experiment.search and choice.trials:
        behind += of_search(cell)
    found = measuring.score_sources(cell) if detected else []
    found += [source_of(cell, item) for item in behind]
    key = _repair_key(store, cell, choice)
    start = cell.keys.pretrain
    return [*found, Source("epochs", "defend", key, "epochs.parquet", None, "pretrain", start)] if key else found


def _repair_key(store: Store, cell: Cell, choice: Selected) -> str | None:
    """Key of the repair run behind a row; None where none was run, or none of several was chosen."""
    if choice.selection == "undefended" or cell.experiment.repair is None:
        return None
    if choice.artifact:
        return choice.artifact
    if cell.experiment.search or not choice.trials:
        return None
    # a repair that failed at its defaults left its epochs too
    key = defend_key(cell, cell.experiment.repair)
    return key if store.has("defend", key) else None


def _effort(store: Store, cell: Cell, choice: Selected, trials: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What stands behind a rule: its trials by status, their measured epochs, and how many met the bound."""
    if cell.experiment.search and choice.trials:
        return _search_effort(cell, choice, trials)
    key = _repair_key(store, cell, choice)
    facts = store.facts("defend", key) if key else None
    if facts is None:
        return {}
    return {"trial_statuses": [{"status": facts["status"], "count": 1}], "epochs_measured": facts["epochs"]}


def _search_effort(cell: Cell, choice: Selected, trials: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    assert cell.experiment.search is not None
    start = next((row["validation_start"] for row in trials), math.nan)
    floor = next((row["validation_floor"] for row in trials), None)
    rules = {rule.selection: rule for rule in search_rules(cell.experiment.search, floor=floor, start_accuracy=start)}
    oracle, own = rules["oracle"], rules[choice.selection]  # type: ignore[index]
    behind = [row for row in trials if own.may_look_at(row["phase"])]
    measured = [row for row in behind if row.get("epoch") is not None]
    statuses = Counter({row["trial"]: row["status"] for row in behind}.values())
    ordered = sorted(statuses.items(), key=lambda item: (item[0] != "ok", item[0]))
    return {
        "trial_statuses": [{"status": status, "count": count} for status, count in ordered],
        "epochs_measured": len(measured),
        "epochs_within_bound": sum(oracle.key(_point(row)) is not None for row in measured),
    }


def _point(row: Mapping[str, Any]) -> Row:
    return Row(row["trial"], row["epoch"], row["phase"], row["validation_accuracy"], row["validation_asr"])
