"""What a cell opens to: a file for each cell, with its numbers, epochs, classes, specification and sources.

A page that is opened from a file may load scripts and nothing else, so that a cell's details are the call of a function
with JSON. A file whose inputs are as before is left as it is.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.store.artifacts import Store
from reports.areas import keys_of
from reports.classes import MOST, class_rates, epochs_of
from reports.columns import script_json
from reports.compile import Results
from reports.grid import Names
from reports.labels import plain

FOLDER = "cells"
FORM = 1  # of these files; another one writes them all again
_FACTS = ("device", "code_version", "code_commit", "clean_pairs", "wall_s", "epochs_measured", "epochs_within_bound")
_SOURCE = ("role", "stage", "key", "file", "transform", "model_stage", "model", "epoch", "split")
_EPOCHS = ("epoch", "validation_accuracy", "validation_asr")


def write_cells(store: Store, results: Results, names: Names, folder: Path) -> int:
    """Writes `<key>.js` for every cell into a folder, and removes those of cells that the suite no longer has.

    Returns:
        How many files were written; the others were there already.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written, kept = 0, set[str]()
    many = len(results.cells) > MOST
    poisons, data = (
        {} if many else _behind(store, results, stages) for stages in (("poison",), ("evaluation", "data"))
    )
    logs = _logs(store)
    for key, facts, rows in _cells(results, names):
        facts["logs"] = [name for own in (key, *facts["artifacts"].values()) if (name := logs.get(own))]
        name = f"{key}.js"
        kept.add(name)
        digest = hashlib.sha256(f"{FORM} {many} {script_json(facts)}".encode()).hexdigest()
        if _begins(folder / name, f"// {digest}\n"):
            continue
        if not many:
            facts["classes"] = _classes(store, facts["artifacts"], rows, poisons, data)
            facts["trials"] = facts["trials"] or _one_trial(store, rows)
        text = f"// {digest}\nbackstop.cell({script_json(key)}, {script_json(facts)});\n"
        temporary = folder / f".{name}.part"
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, folder / name)
        written += 1
    for path in folder.glob("*.js"):
        if path.name not in kept:
            path.unlink()
    return written


def _logs(store: Store) -> dict[str, str]:
    """Key of an artifact that failed -> the traceback that a run on this machine left of it."""
    root = store.local_root
    found = sorted((root / "logs").glob("*-*.txt")) if root else []
    return {path.stem.rpartition("-")[2]: f"logs/{path.name}" for path in found}


def _begins(path: Path, line: str) -> bool:
    with contextlib.suppress(OSError), path.open(encoding="utf-8") as file:
        return file.readline() == line
    return False


def _cells(results: Results, names: Names) -> Iterator[tuple[str, dict[str, Any], list[Any]]]:
    """Key, what is said of it, and its rows, cell by cell."""
    numbers, trials = _numbers(results), _trials(results)
    groups: dict[str, list[Any]] = {}
    for row in results.cells.itertuples(index=False):
        groups.setdefault(row.cell, []).append(row)
    for key, rows in groups.items():
        first = rows[0]
        yield (
            key,
            {
                "axes": {
                    "objective": names.objective[first.objective],
                    "attack": names.attack[first.attack],
                    "repair": names.repair[first.repair],
                    "dataset": plain(first.dataset),
                    "model": plain(first.model),
                    "seed": int(first.seed),
                },
                "labels": {axis: plain(getattr(first, axis)) for axis in ("objective", "attack", "repair")},
                "rules": [row.selection for row in rows],
                "facts": [_facts(row) for row in rows],
                "numbers": numbers_of(numbers, rows),
                "trials": trials.get(first.order),
                "classes": None,
                "specification": _json(next((row.specification for row in rows if _text(row.specification)), None)),
                "environment": _json(next((row.environment for row in rows if _text(row.environment)), None)),
                "artifacts": keys_of(next((row.artifacts for row in rows if _text(row.artifacts)), None)),
            },
            rows,
        )


def _facts(row: Any) -> dict[str, Any]:
    """One selection rule of a cell."""
    found = {name: _value(getattr(row, name)) for name in _FACTS}
    statuses = _listed(row.trial_statuses)
    sources = _listed(row.sources)
    return found | {
        "status": row.status.replace("_", " "),
        "reason": plain(row.reason),
        "trial": _value(row.trial),
        "epoch": _value(row.epoch),
        "trials": _value(row.trials_behind_rule),
        "trial_statuses": [[plain(one["status"]), int(one["count"])] for one in statuses],
        "parameters": _json(row.parameters),
        "sources": [[_value(source[name]) for name in _SOURCE] for source in sources],
    }


def _numbers(results: Results) -> dict[int, list[list[Any]]]:
    """Row of the grid -> its numbers: name, read-out, value, count, total, unit, and the artifact they stand in."""
    measures = results.measures[["row", "name", "readout", "value", "count", "total", "unit", "source"]]
    found: dict[int, list[list[Any]]] = {}
    for row, name, readout, value, count, total, unit, source in measures.itertuples(index=False):
        if math.isfinite(value):
            own = "" if source == "record" else source
            shown = [plain(name), plain(readout), round(value, 8), int(count), _value(total), plain(unit or ""), own]
            found.setdefault(row, []).append(shown)
    return found


def numbers_of(numbers: Mapping[int, list[list[Any]]], rows: Sequence[Any]) -> list[list[Any]]:
    """A line for each number that some rule has: name, read-out, unit, source, then (value, count, total) by rule."""
    lines: dict[tuple[str, str], list[Any]] = {}
    for place, row in enumerate(rows):
        for name, readout, value, count, total, unit, source in numbers.get(row.row, ()):
            line = lines.setdefault((name, readout), [name, readout, unit, source, [None] * len(rows)])
            line[4][place] = [value, count, total]
    return list(lines.values())


def _trials(results: Results) -> dict[int, dict[str, Any]]:
    """Order of a searched cell -> its trials: number, phase, status, parameters, and (epoch, CA, ASR) on validation."""
    found: dict[int, dict[str, Any]] = {}
    names = ["order", "trial", "phase", "status", "parameters", "validation_floor", "validation_start", *_EPOCHS]
    for order, trial, phase, status, parameters, floor, start, *epoch in results.trials[names].itertuples(index=False):
        cell = found.setdefault(order, {"floor": _value(floor), "start": _value(start), "trials": {}})
        own = cell["trials"].setdefault(trial, [int(trial), plain(phase or ""), plain(status), _json(parameters), []])
        if math.isfinite(epoch[0]):
            own[4].append([_value(value) for value in epoch])
    return {order: cell | {"trials": list(cell["trials"].values())} for order, cell in found.items()}


def _behind(store: Store, results: Results, names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Facts of the artifacts that rows name as the first of some names, by key; data sets judge under either name."""
    keys = (keys_of(text) for text in results.cells["artifacts"].dropna().unique())
    wanted = {key for own in keys if (key := next((own[name] for name in names if name in own), ""))}
    return store.facts_of("poison" if "poison" in names else "data", wanted)


def _classes(
    store: Store,
    keys: Mapping[str, str],
    rows: Sequence[Any],
    poisons: Mapping[str, Mapping[str, Any]],
    data: Mapping[str, Mapping[str, Any]],
) -> dict[str, Any] | None:
    """How many triggered images of each class are taken for the target, under each rule."""
    target = poisons.get(keys.get("poison", ""), {}).get("target_index")
    found = [class_rates(store, target, _listed(row.sources)) for row in rows]
    if not any(found):
        return None
    facts = data.get(keys.get("evaluation") or keys.get("data", ""), {})
    return {"names": [plain(name) for name in facts.get("class_names", ())], "target": target, "rates": found}


def _one_trial(store: Store, rows: Sequence[Any]) -> dict[str, Any] | None:
    """The epochs of a repair that was not searched, in the form of a search's trials."""
    found = epochs_of(store, next((sources for row in rows if len(sources := _listed(row.sources))), ()))
    return {"floor": None, "start": None, "trials": [[0, "", "ok", None, found]]} if found else None


def _value(value: Any) -> Any:
    """A number or a text as JSON has it; None for what is not there."""
    if value is None or isinstance(value, (str, bool)):
        return plain(value) if isinstance(value, str) else value
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        if not math.isfinite(value):
            return None
        return int(value) if value.is_integer() else round(value, 8)
    return value if isinstance(value, int) else None


def _listed(value: Any) -> Sequence[Any]:
    """A list column's entry; a row without a record has none."""
    return value if isinstance(value, (list, np.ndarray)) else ()  # pyright: ignore[reportReturnType]


def _text(value: Any) -> bool:
    return isinstance(value, str) and value not in ("", "{}")


def _json(text: Any) -> Any:
    """What a JSON text says; None where it is none."""
    try:
        return json.loads(text) or None
    except (TypeError, ValueError):
        return None
