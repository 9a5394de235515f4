"""Which cells of a suite a run is about: `--only AXIS=VALUE,…` and `--limit N`. Their keys are the suite's own."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from benchmark.engine.standing import unfinished
from benchmark.errors import UserError, unknown
from benchmark.stages.cells import Cell
from benchmark.stages.record import axes
from benchmark.store.artifacts import Store

AXES = ("objective", "attack", "repair", "detector", "defense", "model", "seed", "dataset")
ALIASES = {"defence": "defense"}
NOTHING = {"clean": "none"}  # the clean twin's attack
_COMMA = re.compile(r",(?![^(]*\))")  # a comma that does not stand in a label's brackets

Only = Mapping[str, frozenset[str]]  # axis -> its values


def read_only(texts: Iterable[str]) -> Only:
    """`objective=mmcl,attack=badnet` as values by axis: values of one axis add up, axes narrow.

    Raises:
        UserError: no equals sign, or an axis that is none.
    """
    found: dict[str, frozenset[str]] = {}
    for text in texts:
        for part in _COMMA.split(text):
            axis, equals, value = part.partition("=")
            axis = ALIASES.get(axis, axis)
            if not equals or not value:
                raise UserError(f"--only must be AXIS=VALUE,…, got {text!r}; e.g. objective=mmcl,attack=badnet")
            if axis not in AXES:
                raise UserError(f"--only {text}: {unknown('axis', axis, AXES)}")
            value = NOTHING.get(value, value) if axis == "attack" else value
            found[axis] = found.get(axis, frozenset()) | {value}
    return found


def select(cells: Sequence[Cell], only: Only, *, option: str = "--only") -> list[Cell]:
    """The cells on the given values, in the same order; see `select_places`."""
    if not only:
        return list(cells)
    kept = select_places([axes(cell.experiment) for cell in cells], only, option=option)
    return [cells[place] for place in kept]


def select_places(entries: Sequence[Mapping[str, Any]], only: Only, *, option: str = "--only") -> list[int]:
    """Numbers of the entries on the given values.

    Args:
        entries: of each cell where it stands, as `record.axes` and a suite's document name it.
        only: by axis a name, or a label with its fields.
        option: what they were given to; stands in the messages.

    Raises:
        UserError: a value that no cell has, or values that no cell has together.
    """
    for axis, values in only.items():
        there = {name for entry in entries for name in _names(entry, axis)}
        for value in sorted(values - there):
            shown = {name for name in there if "(" not in name}
            raise UserError(f"{option} {axis}={value}: {unknown(axis, value, shown)}")
    kept = [place for place, entry in enumerate(entries) if all(_names(entry, axis) & only[axis] for axis in only)]
    if not kept:
        raise UserError(f"{option} must leave a cell, got none; {_values_there(entries, only)}")
    return kept


def _names(entry: Mapping[str, Any], axis: str) -> set[str]:
    """What an entry answers to on an axis: its method's name, and that with the fields."""
    if axis == "defense":
        defenses = [str(entry.get(kind, "none")) for kind in ("repair", "detector")]
        label = next((name for name in defenses if name != "none"), "none")
    else:
        label = str(entry.get(axis, "none"))
    return {label, label.partition("(")[0]}


def _values_there(entries: Sequence[Mapping[str, Any]], only: Only) -> str:
    """Of each axis asked for, the values that go with the other ones."""
    told = []
    for axis in only:
        others = [name for name in only if name != axis]
        fitting = [entry for entry in entries if all(_names(entry, name) & only[name] for name in others)]
        names = dict.fromkeys(min(_names(entry, axis), key=len) for entry in fitting)
        told.append(f"with the rest, {axis} may be {', '.join(names) or 'nothing'}")
    return "; ".join(told)


def first_left(store: Store, cells: Sequence[Cell], limit: int | None) -> list[Cell]:
    """The first `limit` cells that are not done, in board order; all cells without a limit, or where all are done."""
    if limit is None:
        return list(cells)
    return unfinished(store, cells)[:limit] or list(cells)


def share_of(asked: int, cells: int) -> str:
    """How many cells, and of how many where they are a part: `24 cells`, `3 of 24 cells`."""
    return f"{f'{asked} of ' if asked < cells else ''}{cells} cells"
