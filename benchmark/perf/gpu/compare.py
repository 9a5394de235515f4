"""Clean accuracy and attack success of `smoke` in two stores, cell beside cell: on the GPU, and on a CPU."""

from __future__ import annotations

from typing import Annotated, Any, NamedTuple

import pyarrow.parquet as pq
import typer

from benchmark.store.artifacts import Store, open_store

SUITE = "smoke"
COLUMNS = ("objective", "attack", "repair", "detector", "seed", "selection")
MEASURES = {"CA": "clean_accuracy", "ASR": "attack_success_rate"}
Cell = tuple[Any, ...]


class Result(NamedTuple):
    """What one record says of a cell."""

    status: str
    values: dict[str, float]  # CA and ASR where they were measured, as shares


def results(store: Store) -> dict[Cell, Result]:
    """Every record of the suite as last run in a store, by cell and selection rule."""
    document = store.read_json(f"suites/{SUITE}.json") or {"cells": []}
    found = [store.find("record", cell["record"]) for cell in document["cells"]]
    rows = [row for one in found if one for row in pq.read_table(one.path("records.parquet")).to_pylist()]
    return {tuple(row[name] for name in COLUMNS): Result(row["status"], _values(row["measures"])) for row in rows}


def _values(measures: list[dict[str, Any]] | None) -> dict[str, float]:
    shown = {item["name"]: item["value"] for item in measures or () if item["readout"] == "zero_shot"}
    return {short: shown[name] for short, name in MEASURES.items() if name in shown}


def lines(there: dict[Cell, Result], here: dict[Cell, Result]) -> list[str]:
    """A line a cell: values of the GPU, of the CPU, and their difference, in per cent; "-" where there is none."""
    found = []
    for cell in sorted(there.keys() | here.keys(), key=str):
        first, second = (side.get(cell, Result("missing", {})) for side in (there, here))
        numbers = "  ".join(f"{name} {_pair(first.values.get(name), second.values.get(name))}" for name in MEASURES)
        found.append(f"{' '.join(map(str, cell)):<70} {numbers}  {first.status} {second.status}")
    return found


def _pair(first: float | None, second: float | None) -> str:
    shown = [f"{100 * value:5.1f}" if value is not None else "    -" for value in (first, second)]
    gap = "    -" if first is None or second is None else f"{100 * (first - second):+5.1f}"
    return " ".join((*shown, gap))


def main(
    gpu: Annotated[str, typer.Argument(help="Store of the run on a GPU.")],
    cpu: Annotated[str, typer.Argument(help="Store of the run on a CPU.")],
) -> None:
    """Prints the table; exit code 1 where a cell is in one of the stores alone, or there is none."""
    there, here = results(open_store(gpu)), results(open_store(cpu))
    print("GPU, CPU, difference, in per cent; status on the GPU, on the CPU", *lines(there, here), sep="\n")
    alone = there.keys() ^ here.keys()
    print(f"{len(there.keys() & here.keys())} records in both stores, {len(alone)} in one alone")
    raise typer.Exit(int(bool(alone) or not there))


if __name__ == "__main__":
    typer.run(main)
