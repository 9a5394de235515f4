"""The public functions: read a suite's results, open one of its cells to try methods on it, run it.

They stand beside the command, not on it: both call the engine. Nothing heavy is loaded before a function needs it.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from os import PathLike
from shlex import quote
from types import FrameType
from typing import TYPE_CHECKING, Any

from benchmark.cell import OpenCell
from benchmark.config.compute_options import ComputeOptions
from benchmark.config.plugins import file_of, is_plugin
from benchmark.engine import running
from benchmark.engine.asked import NOTHING, read_only, select
from benchmark.engine.suites import options_of, resolve, store_of, stored_name
from benchmark.errors import UserError, must
from benchmark.stages.cells import Cell
from benchmark.stages.keys import cells_of
from benchmark.stages.record import axes
from benchmark.store.artifacts import Store
from benchmark.store.suites import suite_document
from benchmark.types import Method

if TYPE_CHECKING:
    import pandas as pd

    from reports.compile import Results

MODEL_AXES = ("objective", "attack", "model", "seed")
Place = str | PathLike[str] | Store | None  # of a store


class SuiteResults:
    """What a store knows of a suite, as pandas frames; they are read when the first of them is asked for."""

    def __init__(self, store: Store, suite: str) -> None:
        self.store, self.suite = store, suite

    @cached_property
    def _found(self) -> Results:
        from reports.compile import compile_suite

        return compile_suite(self.store, self.suite)

    @property
    def cells(self) -> pd.DataFrame:
        """One row per cell without a detector and selection rule: axes, `status`, `reason`, and the headline numbers.

        A cell without a record is there, with the status `missing`. `row` links it to `measures`.
        """
        return self._found.cells

    @property
    def measures(self) -> pd.DataFrame:
        """One row per number: `row`, `name`, `readout`, `value`, `count` (-1: no proportion), `total`, `version`."""
        return self._found.measures

    @property
    def trials(self) -> pd.DataFrame:
        """One row per measured epoch of each trial of the searched cells."""
        return self._found.trials

    @property
    def rebounds(self) -> pd.DataFrame:
        """One row per look at a repaired model, or a control of it, along a benign fine-tuning; often none."""
        return self._found.rebounds.rows

    @property
    def detections(self) -> pd.DataFrame:
        """One row per cell with a detector: axes, `status`, and the detector's numbers."""
        return self._found.detections


def load_results(store: Place, suite: str) -> SuiteResults:
    """Opens the results of a suite as last run in a store.

    Args:
        store: a folder or any fsspec URL; None: BACKSTOP_STORE, else `./store`.
        suite: its name, or the file of a suite.

    Raises:
        UserError: the store holds no such suite.
    """
    opened, name = _store(store, suite, outcomes=True), stored_name(suite)
    suite_document(opened, name)  # a mistake is told now, not at the first look at the results
    return SuiteResults(opened, name)


def run(
    suite: str,
    *,
    add: Sequence[Method] = (),
    set: Mapping[str, Any] | None = None,
    only: Mapping[str, str | int | Sequence[str | int]] | None = None,
    limit: int | None = None,
    store: Place = None,
    local: bool = False,
    options: ComputeOptions | None = None,
    quiet: bool = False,
) -> SuiteResults:
    """Makes what is missing of a suite, as `backstop run` does, and gives its results.

    A method of your own is added with its file, as `--plugin` does: each worker runs that file, so that a script keeps
    what it does itself under `if __name__ == "__main__":`.

    Args:
        suite: name of a suite, file of one (`.json`, `.py`), or the key of a record.
        add: attacks, objectives, repairs and detectors to add to the grid, and metrics, which are applied to finished
            cells too.
        set: fields to change, e.g. `{"pretrain.epochs": 3, "repairs.cleanclip.epochs": 1}`; before `add`.
        only: a part of the grid, e.g. `{"objective": "mmcl", "attack": ["badnet", "clean"]}`.
        limit: the first cells that are not done, so many; None: all.
        store: a folder or any fsspec URL; None: BACKSTOP_STORE, else `./store`.
        local: in this process, without Ray.
        options: workers, slots, micro-batch, address of a cluster.
        quiet: tells nothing meanwhile.

    Raises:
        UserError: anything that the command would refuse; what fails later is a status in the results.
    """
    _refuse_plugin(inspect.currentframe())
    _check_given(add, limit)
    opened = _store(store, suite)
    resolved = resolve(
        suite,
        _assignments(set),
        sorted({file for method in add if (file := file_of(method))}),
        [_addition(method) for method in add],
        store=opened,
    )
    wanted = running.Wanted(_only(only or {}), limit, local, quiet)
    running.run(resolved, opened, options or ComputeOptions(), wanted)
    return SuiteResults(opened, resolved.suite.name)


def open_cell(
    suite: str,
    *,
    objective: str | None = None,
    attack: str | None = None,
    model: str | None = None,
    seed: int | None = None,
    set: Mapping[str, Any] | None = None,
    store: Place = None,
    device: str | None = None,
) -> OpenCell:
    """Opens one poisoned model of a suite that was run, with its data, to try methods on it.

    Args:
        suite: as for `run`.
        objective: its name, or its label with fields; may be left out where the suite has one. So may the others.
        attack: likewise; "clean" is the twin without an attack.
        model: name of the architecture.
        seed: of the experiment.
        set: the fields that were changed for the run.
        store: a folder or any fsspec URL; None: BACKSTOP_STORE, else `./store`.
        device: where models go; None: "cuda" where there is a GPU, else "cpu".

    Raises:
        UserError: a value that no cell has, axes that leave several models, or a model that is not in the store.
    """
    opened = _store(store)
    resolved = resolve(suite, _assignments(set), store=opened)
    given = {"objective": objective, "attack": NOTHING.get(attack or "", attack), "model": model, "seed": seed}
    only = {axis: frozenset({str(value)}) for axis, value in given.items() if value is not None}
    bare = [cell for cell in cells_of(resolved.suite) if not (cell.experiment.repair or cell.experiment.detector)]
    cell = _one(select(bare, only, option="open_cell"))
    _check_made(opened, cell, resolved.command)
    return OpenCell(opened, cell, device)


def _store(place: Place, suite: str | None = None, *, outcomes: bool = False) -> Store:
    """A store; where none is given, with what is published with the suite behind it."""
    if isinstance(place, Store):
        return place
    return store_of(None if place is None else str(place), None, suite, outcomes=outcomes)


def _refuse_plugin(frame: FrameType | None) -> None:
    """Refuses a run by a script that is being run as the plugin of another run."""
    caller = frame.f_back if frame else None
    if caller and is_plugin(str(caller.f_globals.get("__name__"))):
        raise UserError(
            'run must be called under `if __name__ == "__main__":`, got a call at the top of the file, '
            "which each worker runs for the methods in it; indent it there"
        )


def _check_given(add: Iterable[object], limit: int | None) -> None:
    for method in add:
        if not isinstance(method, Method):
            raise must("add", "a list of methods with their fields", method, "e.g. add=[MyDefense(epochs=2)]")
    if limit is not None and limit < 1:
        raise must("limit", "at least 1", limit, "leave it out for all cells")


def _assignments(fields: Mapping[str, Any] | None) -> list[str]:
    """What stands after --set."""
    return [f"{path}={json.dumps(value)}" for path, value in (fields or {}).items()]


def _addition(method: Method) -> str:
    """What stands after --add."""
    given = method.model_dump(mode="json", exclude_defaults=True)
    fields = ",".join(f"{name}={json.dumps(value)}" for name, value in given.items())
    return f"{method.kind}={method.name}" + (f":{fields}" if fields else "")


def _only(values: Mapping[str, str | int | Sequence[str | int]]) -> Mapping[str, frozenset[str]]:
    """What --only would choose."""
    several = {axis: [value] if isinstance(value, str | int) else value for axis, value in values.items()}
    return read_only(f"{axis}={value}" for axis, each in several.items() for value in each)


def _one(cells: Sequence[Cell]) -> Cell:
    """The only model among cells.

    Raises:
        UserError: there are several.
    """
    models = {cell.keys.pretrain: axes(cell.experiment) for cell in cells}
    if len(models) == 1:
        return cells[0]
    values = {name: dict.fromkeys(str(each[name]) for each in models.values()) for name in MODEL_AXES}
    choices = [f"{name}={' or '.join(several)}" for name, several in values.items() if len(several) > 1]
    told = ", ".join(choices) or "they differ in their training: open a suite with one of them"
    raise must("open_cell", "told which one model", f"{len(models)} models", told)


def _check_made(store: Store, cell: Cell, command: str) -> None:
    """Refuses a model that is not in the store, with what it needs to be measured."""
    keys, places = cell.keys, axes(cell.experiment)
    needed = {"data": (keys.data, keys.evaluation), "poison": (keys.poison,), "pretrain": (keys.twin, keys.pretrain)}
    for stage, several in needed.items():
        if not all(store.has(stage, key) for key in several if key):
            only = ",".join(f"{name}={places[name]}" for name in (*MODEL_AXES, "repair", "detector"))
            remedy = f"run `{command} --only {quote(only)} {options_of(store)}`"
            what = f"{places['objective']} × {places['attack']}"
            raise UserError(f"{what} must be in store {store.root}, got no {stage} artifact of it; {remedy}")
