"""A suite's document: its cells, what each is made of, its methods; from it a board shows what is missing too."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic_core import to_jsonable_python

from benchmark.config.spec import Suite
from benchmark.stages.cells import Cell, Keys
from benchmark.stages.every import STAGES
from benchmark.stages.keys import stage_key
from benchmark.stages.node import Ref, Rows
from benchmark.stages.prepare import row_counter
from benchmark.stages.rebounds import rebound_of
from benchmark.stages.record import axes
from benchmark.store.artifacts import Store
from benchmark.types import Method


def write_suite(
    store: Store, suite: Suite, cells: Sequence[Cell], *, command: str, environment: Mapping[str, Any]
) -> None:
    """Writes the document that lists a suite's cells, so that a board can show what is missing too."""
    dump = suite.to_dict()
    document = {
        "suite": suite.name,
        "title": suite.title,
        "key": stage_key("record", dump, []),
        "command": command,
        "specification": dump,
        "protocol": _protocol(suite, dump),
        "environment": dict(environment),
        "methods": _cards(suite),
        "cells": entries(cells, row_counter(store)),
    }
    # through JSON, in which tuples are lists; equal documents keep their file's date
    if store.read_json(f"suites/{suite.name}.json") != json.loads(json.dumps(document)):
        store.write_json(f"suites/{suite.name}.json", document)


def _protocol(suite: Suite, dump: Mapping[str, Any]) -> dict[str, Any]:
    """The rules that hold for every cell, the rebound, and the pre-training of further grids where it is another."""
    rules = {name: dump[name] for name in ("gate", "search", "splits", "pretrain", "readouts", "spaces")}
    others = {
        place: grid["pretrain"] for place, grid in enumerate(dump["also"]) if grid["pretrain"] != dump["pretrain"]
    }
    asked = rebound_of(suite)
    if asked:  # in full: from it boards tell the trajectories that were asked for from others in the store
        rules["rebound"] = asked.model_dump(mode="json") | {"seeds": list(suite.seeds[: asked.seeds])}
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
                "defaults": _defaults(item),
            }
            for item in suite.methods(kind)
        }
        for kind in ("objective", "attack", "repair", "detector")
    }


def _defaults(method: Method) -> dict[str, Any]:
    """What the fields that are set otherwise would be by default; those that must be given have none."""
    fields = type(method).model_fields
    others = [name for name in method.model_dump(exclude_defaults=True) if not fields[name].is_required()]
    return {name: to_jsonable_python(fields[name].get_default(call_default_factory=True)) for name in others}


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
