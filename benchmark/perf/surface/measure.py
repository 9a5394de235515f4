"""Measures the surface: every point of the grid as a repair of its own, every epoch on validation and on test.

Each point is written when it is done, so that the same command goes on where it was ended, and several may share the
work.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow.feather as feather

from benchmark.contexts.defense import MethodInputs
from benchmark.contexts.recorder import EpochRecorder, Report
from benchmark.contexts.repair import GatedRepairContext
from benchmark.errors import Diverged
from benchmark.evaluation.evaluate import Condition, HeldOut, Validation, validate
from benchmark.models.clip import ClipModel
from benchmark.perf.surface.table import FILE, write
from benchmark.perf.surface.world import grid, suite
from benchmark.stages.cells import Cell
from benchmark.stages.common import required
from benchmark.stages.keys import cells_of
from benchmark.stages.trial import repair_of
from benchmark.stages.work.method_inputs import conditions_of, held_out, method_inputs
from benchmark.stages.work.weights import load_pretrained
from benchmark.store.artifacts import Store
from benchmark.store.keys import derive_seed
from benchmark.training.loop import LoopOptions
from benchmark.types import Repair

Row = dict[str, Any]
BATCH = 512
SPLITS = ("validation", "test")


class Start(NamedTuple):
    """A poisoned model, and everything by which its repairs are measured."""

    cell: Cell
    model: ClipModel
    inputs: MethodInputs
    splits: Mapping[str, HeldOut]
    conditions: tuple[Condition, ...]  # clean, and the trigger
    head: Row  # columns that all rows of the model share


def measure(store: Store, folder: Path, *, part: int = 0, parts: int = 1) -> None:
    """Measures what is missing of every `parts`-th point, beginning with `part`.

    Args:
        store: holds the models of `world.suite`, made by `backstop run`.
        folder: takes one file per point.
        part: which share of the points.
        parts: into how many shares they are divided.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for cell in cells():
        start = None
        for number in range(-1, len(grid())):
            file = folder / f"{cell.experiment.objective.label}-{cell.experiment.seed}-{number}.arrow"
            if (number + 1) % parts != part or file.exists():
                continue
            start = start or _start(store, cell)
            write(list(_point(start, number)), file)
            print(file.stem, flush=True)


def gather(folder: Path, file: Path = FILE) -> int:
    """Joins the points of a folder to the table that is kept; returns how many rows it has.

    Raises:
        ValueError: a point is missing.
    """
    points = sorted(folder.glob("*.arrow"))
    wanted = len(cells()) * (len(grid()) + 1)
    if len(points) != wanted:
        raise ValueError(f"{len(points)} of {wanted} points are measured")
    rows = [row for point in points for row in feather.read_table(point).to_pylist()]
    rows.sort(key=lambda row: (row["objective"], row["seed"], row["trial"], row["epoch"]))
    write(rows, file)
    return len(rows)


def cells() -> list[Cell]:
    """The attacked cells with the repair."""
    return [cell for cell in cells_of(suite()) if cell.experiment.attack and cell.experiment.repair]


def _start(store: Store, cell: Cell) -> Start:
    model, twin = (load_pretrained(store, key) for key in (cell.keys.pretrain, cell.keys.twin))
    evaluation = required(store, "data", cell.keys.evaluation)
    inputs = method_inputs(store, cell, model, key=cell.keys.pretrain, repair=cell.experiment.repair)
    splits = {name: held_out(evaluation, name) for name in SPLITS}
    start = Start(cell, model, inputs, splits, conditions_of(store, cell, evaluation), {})
    floors = {f"{name}_floor": found.asr for name, found in _validated(start, twin).items()}
    return start._replace(head={"objective": cell.experiment.objective.label, "seed": cell.experiment.seed} | floors)


def _point(start: Start, number: int) -> Iterator[Row]:
    if number < 0:
        yield start.head | {"trial": -1, "epoch": 0} | _numbers(start, start.model)
        return
    rate, weight = grid()[number]
    values = {"learning_rate": rate, "ssl_weight": weight}
    repair = repair_of(start.cell, values)
    measured = _epochs(start, repair)
    for epoch in range(1, repair.model_dump()["epochs"] + 1):
        numbers = measured[epoch - 1] if epoch <= len(measured) else {}  # nulls, once it is no number any more
        yield start.head | values | {"trial": number, "epoch": epoch} | numbers


def _epochs(start: Start, repair: Repair) -> list[Row]:
    """One repair; a model that is no number any more has no further epochs."""
    measured: list[Row] = []

    class Recorder(EpochRecorder):
        """Measures every epoch on both splits, and keeps no weights."""

        def measure(self, epoch: int, model: ClipModel, *, training_loss: float, learning_rate: float) -> None:
            measured.append(_numbers(start, model))
            self.rows.append({})

    report = Report(start.splits["validation"], (), Path(), start.cell.keys.pretrain, lambda end: None)
    recorder = Recorder(report, start.inputs)
    seed = derive_seed(start.cell.experiment.seed, "defend")  # as in a search
    context = GatedRepairContext(repair.own_card, start.inputs, recorder, seed=seed, options=LoopOptions())
    with suppress(Diverged):
        repair.repair(start.model, context)
    return measured


def _numbers(start: Start, model: ClipModel) -> Row:
    found = _validated(start, model)
    accuracies = {f"{name}_accuracy": one.accuracy for name, one in found.items()}
    return accuracies | {f"{name}_asr": one.asr for name, one in found.items()}


def _validated(start: Start, model: ClipModel) -> dict[str, Validation]:
    """What each split says of a model."""
    return {
        name: validate(
            model,
            split,
            start.conditions,
            class_names=start.inputs.class_names,
            templates=start.inputs.templates,
            batch_size=BATCH,
        )
        for name, split in start.splits.items()
    }
