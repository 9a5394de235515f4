"""What a suite still needs: nodes found and missing, time from past records or a probe, disk. No torch, no Ray."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple

from benchmark.config.spec import Suite
from benchmark.engine.standing import made_of
from benchmark.stages import graph
from benchmark.stages.every import STAGES
from benchmark.stages.graph import Cell, Keys
from benchmark.stages.node import Node, Ref, Rows, Stage
from benchmark.stages.record import axes
from benchmark.store.artifacts import Store

PAST = 20  # artifacts of a stage whose times are looked at


class StagePlan(NamedTuple):
    """One stage of a plan."""

    stage: str
    title: str
    total: int
    found: int
    work: float  # forward views of images that are still to be computed
    seconds: float | None  # estimate on one slot; None: no past record to go by


class _Want(NamedTuple):
    """A node, one cell that needs it, and whether it must be made."""

    node: Node
    cell: Cell
    missing: bool


def todo(store: Store, cells: Sequence[Cell]) -> list[Cell]:
    """Cells without a final record: those never finished, and those that failed and deserve another try."""

    def final(cell: Cell) -> bool:
        # a crash may have been the machine's; a repair that failed by rule would only fail again
        facts = store.facts("record", cell.keys.record)
        return facts is not None and facts["final"]

    return [cell for cell in cells if not final(cell)]


def unfinished(store: Store, cells: Sequence[Cell]) -> list[Cell]:
    """`todo` by what the manifests say; no file of a record is looked at, so that a run alone finds a damaged one."""
    facts = store.facts_of("record", [cell.keys.record for cell in cells])
    return [cell for cell in cells if not facts.get(cell.keys.record, {}).get("final")]


def row_counter(store: Store) -> Rows:
    """Counts the pre-training pairs of cells: from the prepared set, else as the suite or the data set says."""
    known: dict[str, int] = {}

    def rows(cell: Cell) -> int:
        if cell.keys.data not in known:  # thousands of cells share a set
            known[cell.keys.data] = _num_rows(store, cell)
        return known[cell.keys.data]

    return rows


def _num_rows(store: Store, cell: Cell) -> int:
    # before the data is prepared nobody knows how many rows will be broken or empty
    facts, split = store.facts("data", cell.keys.data), graph.trained_split(cell)
    if facts:
        return int(facts["splits"][split])
    experiment = cell.experiment
    reserved = experiment.splits.outside if split == "outside" else 0
    return reserved or experiment.splits.pretrain or int(getattr(experiment.data, "num_rows", 10_000))


def plan(store: Store, cells: Sequence[Cell], paces: Mapping[str, float] | None = None) -> list[StagePlan]:
    """Counts the nodes of a run that are there and those that are missing, stage by stage.

    Args:
        store: where artifacts are looked for.
        cells: the cells that are asked for.
        paces: forward views per second by model, where the store has no past record; None: not known.
    """
    wants = list(_wanted(store, cells).values())
    rates = {stage: _rate(store, wants, stage) for stage in ("pretrain", "defend")}
    shown = {stage.name: stage.title for stage in reversed(STAGES) if stage.shown}
    return [_stage(name, shown[name], wants, rates, paces or {}) for name in reversed(shown)]


def _wanted(store: Store, cells: Sequence[Cell]) -> dict[Ref, _Want]:
    """The nodes of all cells, united by name."""
    rows, left = row_counter(store), unfinished(store, cells)
    waiting = {cell.keys.record for cell in left}
    wanted: dict[Ref, _Want] = {}
    for cell, node in nodes_of(left, STAGES, rows):
        wanted.setdefault(node.ref, _Want(node, cell, True))
    made = made_of(store, (ref for ref, want in wanted.items() if want.node.stage.lasting))
    for ref in made:
        wanted[ref] = wanted[ref]._replace(missing=False)
    # what only finished cells are made of need not be there any more
    for cell, node in nodes_of((cell for cell in cells if cell.keys.record not in waiting), STAGES, rows):
        wanted.setdefault(node.ref, _Want(node, cell, False))
    return wanted


def nodes_of(cells: Iterable[Cell], stages: Sequence[Stage], rows: Rows) -> Iterator[tuple[Cell, Node]]:
    """What cells need of stages, each node with a cell that needs it; what all defenses of a model share comes once."""
    seen: set[tuple[str | None, ...]] = set()
    for cell in cells:
        keys = cell.keys
        model = (keys.pretrain, keys.poison, keys.evaluation, keys.outside, keys.retrained)
        for stage in stages:
            if not (stage.of_model and model in seen):
                yield from ((cell, node) for node in stage.nodes(cell, rows))
        seen.add(model)


def _stage(
    name: str, title: str, wants: Sequence[_Want], rates: Mapping[str, float], paces: Mapping[str, float]
) -> StagePlan:
    mine = [want for want in wants if want.node.stage.name == name]
    missing = [want for want in mine if want.missing]
    # a choice knows what its evaluations will cost before they are nodes
    costly = [want for want in wants if want.missing and name in (want.node.stage.name, want.node.stage.counts_for)]
    total, left = sum(map(_count, mine)), sum(map(_count, missing))
    # either stage runs the same towers, so that the other's pace is a better guess than none
    rate = rates["defend" if name in ("defend", "detect", "search") else "pretrain"] or max(rates.values())
    return StagePlan(name, title, total, total - left, *_cost(costly, rate, paces))


def _count(want: _Want) -> int:
    """A search counts as its trials."""
    search = want.cell.experiment.search
    return search.trials if want.node.stage.name == "search" and search else 1


def _cost(wants: Sequence[_Want], rate: float, paces: Mapping[str, float]) -> tuple[float, float | None]:
    """Work, and seconds on one slot."""
    amounts = [(want.node.work, rate or paces.get(want.cell.experiment.model.name, 0.0)) for want in wants]
    work = sum(amount for amount, _ in amounts)
    # a sum without its unknown part would read as a promise
    if not all(pace for amount, pace in amounts if amount):
        return work, None
    return work, sum(amount / pace for amount, pace in amounts if amount)


def _rate(store: Store, wants: Iterable[_Want], stage: str) -> float:
    """Forward views per second of what this store has seen of a stage; 0 where it has seen nothing."""
    nodes = (want.node for want in wants if want.node.stage.name == stage and not want.missing)
    past = [(node.work, facts["wall_s"]) for node in islice(nodes, PAST) if (facts := store.facts(*node.ref))]
    seconds = sum(spent for _, spent in past)
    return sum(work for work, _ in past) / seconds if seconds else 0.0


def disk_estimate(store: Store, cells: Sequence[Cell], planned: Sequence[StagePlan]) -> int:
    """Bytes that a planned run will add, roughly: decoded images, and weights with their optimiser state."""
    from benchmark.models.architectures import image_size

    stages = {stage.stage: stage for stage in planned}
    if not cells:
        return 0
    side = image_size(cells[0].experiment.model.name)
    splits = cells[0].experiment.splits
    held_out = splits.clean + splits.validation + splits.test
    rows = row_counter(store)
    outside = {cell.keys.outside_data: cell for cell in cells if cell.keys.outside_data}
    apart = sum(rows(graph.outside_cell(cell)) for cell in outside.values())
    images = (rows(cells[0]) + held_out + apart) * side * side * 3
    weights = 3_000_000 if cells[0].experiment.model.name.startswith("tiny") else 600_000_000
    missing = {name: stage.total - stage.found for name, stage in stages.items()}
    models = 3 * missing["pretrain"] + 2 * (missing["defend"] + missing["search"])
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
        "cells": entries(cells, row_counter(store)),
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


def entries(cells: Sequence[Cell], rows: Rows) -> list[dict[str, Any]]:
    """Each cell's place in the grid, its record, and the nodes that the record is made of, in order."""
    ours = [stage for stage in STAGES if stage.shown and stage.name != "record"]
    of_model: dict[Keys, list[Ref]] = {}
    found = []
    for cell in cells:
        keys = cell.keys
        model = keys._replace(record="", detect=None)
        if model not in of_model:
            of_model[model] = [node.ref for stage in ours if stage.of_model for node in stage.nodes(cell, rows)]
        own = [node.ref for stage in ours if not stage.of_model for node in stage.nodes(cell, rows)]
        head = {"cell": keys.record, "record": keys.record, "nodes": [*of_model[model], *own]}
        found.append(head | axes(cell.experiment))
    return found
