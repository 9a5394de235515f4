"""What a suite still needs: cells, artifacts found and missing, time from past records, disk. No torch, no Ray."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from benchmark.config.spec import Experiment, Suite
from benchmark.stages import graph
from benchmark.stages.graph import Cell
from benchmark.stages.record import axes
from benchmark.store.artifacts import Store


class StagePlan(NamedTuple):
    """One stage of a plan."""

    stage: str
    total: int
    found: int
    work: float  # forward views of images that are still to be computed
    seconds: float | None  # estimate on one slot; None: no past record to go by


def todo(store: Store, cells: Sequence[Cell]) -> list[Cell]:
    """Cells without a final record: those never finished, and those that failed and deserve another try."""

    def final(cell: Cell) -> bool:
        # a crash may have been the machine's; a repair that failed by rule would only fail again
        facts = store.facts("record", cell.keys.record)
        return facts is not None and facts["final"]

    return [cell for cell in cells if not final(cell)]


def pretrain_work(experiment: Experiment, rows: int) -> float:
    """Forward views of images of one pre-training."""
    views = len({"image", "image_augmented"} & experiment.objective.views)
    return float(experiment.pretrain.epochs * rows * views)


def repair_work(experiment: Experiment) -> float:
    """Forward views of images of one repair run, roughly: validation after each epoch costs a third of a view."""
    repair = experiment.repair
    augmented = "text augmentation (EDA)" in repair.card.external if repair else False
    views = (2 if augmented else 1) * experiment.splits.clean + 0.6 * experiment.splits.validation
    return float(getattr(repair, "epochs", 1) * views)


def detect_work(experiment: Experiment) -> float:
    """Forward views of images of one detector's run, roughly: one pass over what it scores."""
    detector, splits = experiment.detector, experiment.splits
    pairs = float(splits.pretrain or 10_000)
    units = {"pair": pairs, "input": float(splits.validation + 2 * splits.test), "model": float(10 * splits.clean)}
    return units[detector.unit] if detector else 0.0


def evaluate_work(experiment: Experiment) -> float:
    """Forward views of images of one cell's evaluations, roughly: a view without gradients is a third of one with."""
    splits, conditions = experiment.splits, 2 if experiment.attack else 1
    rules = 3 if experiment.search else 1
    return rules * (conditions * splits.test + splits.clean) / 3


def num_rows(store: Store, cell: Cell) -> int:
    """Pre-training pairs of a cell: from the prepared set, else as the suite or the data set says."""
    # before the data is prepared nobody knows how many rows will be broken or empty
    facts, split = store.facts("data", cell.keys.data), graph.trained_split(cell)
    if facts:
        return int(facts["splits"][split])
    experiment = cell.experiment
    reserved = experiment.splits.outside if split == "outside" else 0
    return reserved or experiment.splits.pretrain or int(getattr(experiment.data, "num_rows", 10_000))


def with_twins(asked: Sequence[Cell], cells: Sequence[Cell]) -> list[Cell]:
    """The cells that are asked for, and those of the suite whose model is the clean twin of one of them."""
    # a part of a suite (`--only`) may leave them out, and without them there is neither floor nor gate
    wanted = {cell.keys.twin for cell in asked}
    return [*asked, *(cell for cell in cells if cell.keys.pretrain in wanted)]


def plan(
    store: Store, cells: Sequence[Cell], suite_cells: Sequence[Cell] = (), paces: Mapping[str, float] | None = None
) -> list[StagePlan]:
    """Counts what is there and what is missing, stage by stage.

    Args:
        store: where artifacts are looked for.
        cells: the cells that are asked for.
        suite_cells: all cells of their suite, where the clean twins of the cells are found.
        paces: forward views per second by model, where the store has no past record; None: not known.
    """
    missing = todo(store, cells)
    data = {k for cell in cells for k in (cell.keys.data, cell.keys.evaluation, cell.keys.outside_data) if k}
    poison = {cell.keys.poison for cell in cells if cell.keys.poison}
    pretrain = {cell.keys.pretrain: cell for cell in with_twins(cells, suite_cells)}
    pretrain |= {cell.keys.outside: graph.outside_cell(cell) for cell in cells if cell.keys.outside}
    retrain = {cell.keys.retrained: cell for cell in cells if cell.keys.retrained}
    detect = {cell.keys.detect: cell for cell in cells if cell.keys.detect}
    repairs = {graph.defend_key(cell, cell.experiment.repair): cell for cell in cells if cell.experiment.repair}
    records = {cell.keys.record for cell in cells}
    left = {cell.keys.record for cell in missing}
    trains = [cell for key, cell in (pretrain | retrain).items() if not store.has("pretrain", key)]
    looks = [cell for key, cell in detect.items() if not store.has("detect", key)]
    fixes = [cell for key, cell in repairs.items() if cell.keys.record in left and not store.has("defend", key)]
    searches = [cell for cell in missing if cell.experiment.search]
    rate = _rates(store, pretrain, repairs)
    models = len(pretrain) + len(retrain)
    trials = sum(cell.experiment.search.trials for cell in searches if cell.experiment.search)
    total_trials = sum(cell.experiment.search.trials for cell in cells if cell.experiment.search)

    def cost(made: Sequence[Cell], work: Callable[[Cell], float], by: str) -> tuple[float, float | None]:
        """Work, and seconds on one slot, of what is still to be made."""
        amounts = [(work(cell), rate[by] or (paces or {}).get(cell.experiment.model.name, 0.0)) for cell in made]
        # a sum without its unknown part would read as a promise
        known = all(pace for amount, pace in amounts if amount)
        seconds = sum(amount / pace for amount, pace in amounts if amount) if known else None
        return sum(amount for amount, _ in amounts), seconds

    trained = cost(trains, lambda cell: pretrain_work(cell.experiment, num_rows(store, cell)), "pretrain")
    fixed = cost(fixes, lambda cell: repair_work(cell.experiment), "defend")
    looked = cost(looks, lambda cell: detect_work(cell.experiment), "defend")
    searched = cost(searches, lambda cell: repair_work(cell.experiment) * _num_trials(cell.experiment), "defend")
    recorded = cost(missing, lambda cell: evaluate_work(cell.experiment), "pretrain")
    return [
        _stage(store, "data", data),
        _stage(store, "poison", poison),
        StagePlan("pretrain", models, models - len(trains), *trained),
        StagePlan("defend", len(repairs), len(repairs) - len(fixes), *fixed),
        StagePlan("detect", len(detect), len(detect) - len(looks), *looked),
        StagePlan("trials", total_trials, total_trials - trials, *searched),
        StagePlan("record", len(records), len(records) - len(left), *recorded),
    ]


def _num_trials(experiment: Experiment) -> int:
    return experiment.search.trials if experiment.search else 0


def _stage(store: Store, stage: str, keys: Iterable[str]) -> StagePlan:
    every = set(keys)
    return StagePlan(stage, len(every), sum(store.has(stage, key) for key in every), 0.0, 0.0)


def _rates(store: Store, pretrain: Mapping[str, Cell], repairs: Mapping[str, Cell]) -> dict[str, float]:
    """Forward views per second of what this store has seen, by stage; 0 where it has seen nothing."""
    done = {"pretrain": [0.0, 0.0], "defend": [0.0, 0.0]}
    for stage, cells in (("pretrain", pretrain), ("defend", repairs)):
        for key, cell in cells.items():
            facts = store.facts(stage, key)
            if facts:
                work = (
                    pretrain_work(cell.experiment, num_rows(store, cell))
                    if stage == "pretrain"
                    else repair_work(cell.experiment)
                )
                done[stage][0] += work
                done[stage][1] += facts["wall_s"]
    rates = {stage: work / seconds if seconds else 0.0 for stage, (work, seconds) in done.items()}
    # either stage runs the same towers, so that the other's pace is a better guess than none
    return {stage: rate or max(rates.values()) for stage, rate in rates.items()}


def disk_estimate(store: Store, cells: Sequence[Cell], planned: Sequence[StagePlan]) -> int:
    """Bytes that a planned run will add, roughly: decoded images, and weights with their optimiser state."""
    from benchmark.models.architectures import image_size

    stages = {stage.stage: stage for stage in planned}
    if not cells:
        return 0
    side = image_size(cells[0].experiment.model.name)
    splits = cells[0].experiment.splits
    held_out = splits.clean + splits.validation + splits.test
    outside = {cell.keys.outside_data: cell for cell in cells if cell.keys.outside_data}
    apart = sum(num_rows(store, graph.outside_cell(cell)) for cell in outside.values())
    images = (num_rows(store, cells[0]) + held_out + apart) * side * side * 3
    weights = 3_000_000 if cells[0].experiment.model.name.startswith("tiny") else 600_000_000
    missing = {name: stage.total - stage.found for name, stage in stages.items()}
    models = 3 * missing["pretrain"] + 2 * (missing["defend"] + missing["trials"])
    return images * bool(missing["data"]) + weights * models


def write_suite(
    store: Store, suite: Suite, cells: Sequence[Cell], *, command: str, environment: Mapping[str, Any]
) -> None:
    """Writes the document that lists a suite's cells, so that a board can show what is missing too."""
    dump = suite.to_dict()
    document = {
        "suite": suite.name,
        "title": suite.title,
        "key": graph.key("record", dump, []),
        "command": command,
        "specification": dump,
        "protocol": _protocol(dump),
        "environment": dict(environment),
        "methods": _cards(suite),
        "cells": [_entry(cell) for cell in cells],
    }
    # through JSON, in which tuples are lists; equal documents keep their file's date
    if store.read_json(f"suites/{suite.name}.json") != json.loads(json.dumps(document)):
        store.write_json(f"suites/{suite.name}.json", document)


def _protocol(dump: Mapping[str, Any]) -> dict[str, Any]:
    """The rules that hold for every cell, and the pre-training of further grids where it is another."""
    rules = {name: dump[name] for name in ("gate", "search", "splits", "pretrain", "readouts", "spaces")}
    others = {
        place: grid["pretrain"] for place, grid in enumerate(dump["also"]) if grid["pretrain"] != dump["pretrain"]
    }
    return rules | {f"also.{place}.pretrain": other for place, other in others.items()}


def _cards(suite: Suite) -> dict[str, dict[str, Any]]:
    """What each method of the grid asks for and where it comes from: kind -> label -> card."""
    return {
        kind: {
            item.label: item.own_card.model_dump(mode="json")
            | {
                "needs": sorted(item.needs),
                "name": item.name,
                "unit": getattr(item, "unit", ""),
                "transform": getattr(item, "transform", None),
            }
            for item in suite.methods(kind)
        }
        for kind in ("objective", "attack", "repair", "detector")
    }


def _entry(cell: Cell) -> dict[str, Any]:
    return {"cell": cell.keys.record, "record": cell.keys.record} | axes(cell.experiment)
