"""`backstop studies`: the searches of a suite as Optuna studies."""

from __future__ import annotations

from functools import partial

from benchmark.engine.suites import Resolved
from benchmark.errors import UserError
from benchmark.output import print_json
from benchmark.stages.cells import Cell
from benchmark.stages.keys import cells_of, defend_key
from benchmark.stages.record import axes
from benchmark.stages.trial import SearchCell, describe, epochs_of, repair_of
from benchmark.store.artifacts import Store
from tuners.queue import CellSearch
from tuners.studies import Epochs, export, storage_at


def studies(resolved: Resolved, store: Store, storage: str, *, as_json: bool) -> None:
    """Writes each search that has ended trials, and says how many there are."""
    suite = resolved.suite
    cells = {_name(suite.name, cell): cell for cell in cells_of(suite) if cell.experiment.search}
    searches = {name: _described(store, cell) for name, cell in cells.items()}
    searches = {name: search for name, search in searches.items() if search.finished}
    if not searches:
        raise UserError(f"store {store.root}: must have ended trials of {suite.name}, got none; {resolved.command}")
    epochs = {
        (name, trial.trial): _epochs(store, cells[name], trial.parameters)
        for name, search in searches.items()
        for trial in search.finished
    }
    export(storage_at(storage), searches, epochs)
    counts = {name: len(search.finished) for name, search in searches.items()}
    if as_json:
        print_json({"storage": storage, "studies": counts})
        return
    for name, count in counts.items():
        print(f"{count:>5} trials  {name}")
    print(f"{len(counts)} stud{'y' if len(counts) == 1 else 'ies'} of {suite.name} in {storage}")


def _name(suite: str, cell: Cell) -> str:
    """Distinct for each cell of a suite."""
    where = axes(cell.experiment)
    parts = [where[name] for name in ("model", "objective", "attack", "repair")]
    return " · ".join([suite, *parts, f"seed {where['seed']}"])


def _described(store: Store, cell: Cell) -> CellSearch:
    return describe(SearchCell(cell, 0.0, None), partial(store.facts, "defend"))


def _epochs(store: Store, cell: Cell, parameters: dict[str, object]) -> Epochs:
    rows = epochs_of(store, defend_key(cell, repair_of(cell, parameters)))
    return [(row["validation_accuracy"], row["validation_asr"]) for row in rows]
