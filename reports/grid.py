"""Rows of the board's long tables: the grid of cells, the secondary read-outs, and the searches' fronts."""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import Any, NamedTuple

import numpy as np

from benchmark.stats import front, hypervolume
from benchmark.store.schemas import DEFAULTS_STAND_IN
from reports.cards import NO_CARDS, Cards, titles_by_name
from reports.compile import Frame
from reports.importance import MOST, importance
from reports.labels import (
    RULES,
    known,
    outside_note,
    percent,
    plain,
    titles,
)
from reports.numbers import BLANK, Number, whole

TONES: Mapping[str, str] = {
    "ok": "good",
    "repair_failed": "warn",
    "attack_did_not_plant": "warn",
    "not_applicable": "quiet",
    "missing": "quiet",
}
BAND = 0.02  # clean accuracy that a repair may lose before it stands in a band of its own (protocol, utility)


class GridRow(NamedTuple):
    """One cell under one selection rule."""

    keys: Mapping[str, str]  # raw labels of the axes, for filters and tooltips
    shown: Mapping[str, str]  # the same as people write them
    status: str
    tone: str
    reason: str
    marks: str  # what an "ok" does not say: accuracy lost beyond the band, a bound that test does not keep
    alike: bool  # whether its ASR cannot be told from the undefended model's
    rule_note: str
    attack_note: str
    trials: Number
    clean_pairs: Number


class Names(NamedTuple):
    """Titles of the labels in a suite, axis by axis."""

    objective: Mapping[str, str]
    attack: Mapping[str, str]
    repair: Mapping[str, str]
    detector: Mapping[str, str] = {}


def names_of(cells: Frame, detections: Frame | None = None, cards: Cards = NO_CARDS) -> Names:
    """Titles for every label that occurs, from the methods' cards; without cards, the methods' names."""
    frames = [cells] if detections is None else [cells, detections]
    labels = {axis: [label for frame in frames for label in frame[axis]] for axis in Names._fields}
    return Names(*(titles(found, titles_by_name(getattr(cards, axis))) for axis, found in labels.items()))


def axes_of(row: Any, names: Names) -> tuple[dict[str, str], dict[str, str]]:
    """Raw labels of a row of any frame with the axes, and their titles."""
    keys = {"objective": row.objective, "attack": row.attack, "repair": row.repair, "seed": str(row.seed)}
    shown = {
        "objective": names.objective[row.objective],
        "attack": names.attack[row.attack],
        "repair": names.repair[row.repair],
        "seed": str(row.seed),
    }
    return keys, shown


def grid_rows(
    cells: Frame, names: Names, *, bound: float | None, rate: str, alike: Container[int] = frozenset()
) -> list[GridRow]:
    """The grid: one row per cell and selection rule, in the suite's order; the bound is on the column `rate`.

    `alike`: numbers of rows (column `row`) whose ASR cannot be told from the undefended model's.
    """
    return [_grid_row(row, names, _marks(row, bound, rate), row.row in alike) for row in cells.itertuples(index=False)]


def _marks(row: Any, bound: float | None, rate: str) -> list[str]:
    found = [row.void] if row.void else []
    if row.accuracy_lost > BAND + 1e-9:
        found.append(f"CA {percent(row.accuracy_lost)} points below undefended")
    measured = getattr(row, rate)
    if row.selection == "oracle" and bound is not None and measured > bound + 1e-9:
        found.append(f"met the bound on validation, not on test: {percent(measured)} %")
    return found


def _grid_row(row: Any, names: Names, marks: list[str], alike: bool) -> GridRow:
    keys, shown = axes_of(row, names)
    return GridRow(
        keys={**keys, "rule": row.selection, "status": row.status},
        shown={**shown, "rule": RULES.get(row.selection, plain(row.selection))},
        status="ok, by the defaults" if fell_back(row) else row.status.replace("_", " "),
        tone="warn" if fell_back(row) or (row.status == "ok" and marks) else TONES.get(row.status, "bad"),
        reason=plain(row.reason),
        marks="; ".join(marks),
        alike=alike,
        rule_note=f"trial {row.trial:.0f}, epoch {row.epoch:.0f}" if row.searched and _positive(row.epoch) else "",
        attack_note=_attack_note(row),
        trials=whole(row.trials_behind_rule) if row.searched else BLANK,
        clean_pairs=whole(row.clean_pairs) if row.repair != "none" and row.status == "ok" else BLANK,
    )


def fell_back(row: Any) -> bool:
    """Whether the defaults stand in for a trigger-blind selection that found nothing; its reason says so."""
    return row.status == "ok" and row.selection == "trigger_blind" and DEFAULTS_STAND_IN in str(row.reason)


def _attack_note(row: Any) -> str:
    waits = f"shows after {plain(row.under)}" if row.under else ""
    return "; ".join(filter(None, (waits, outside_note(row.auxiliary_clean_accuracy))))


def _positive(value: float) -> bool:
    return known(value) and value > 0


class SearchRow(NamedTuple):
    """One search: how much was tried, and how good its front is on validation."""

    shown: Mapping[str, str]
    trials: int
    epochs: int
    stopped: int  # trials that collapsed, failed or ran out of something
    on_front: int
    hypervolume: Number
    mattered: str  # share of each field in what its trials reached; "" where they are too few to say


def search_rows(trials: Frame, names: Names) -> list[SearchRow]:
    """One row per searched cell, from its validation epochs; the reference corner is CA 0 at ASR 100 %."""
    rows, groups = [], list(trials.groupby("order", sort=True))
    for _, group in groups:
        axes = ["validation_accuracy", "validation_asr"]
        points = group.loc[~group["collapsed"], axes].to_numpy(dtype=float)
        status = group.drop_duplicates("trial", keep="last")["status"]
        area = hypervolume(points)
        rows.append(
            SearchRow(
                shown=axes_of(next(group.itertuples(index=False)), names)[1],
                trials=len(status),
                epochs=int(np.isfinite(group[axes].to_numpy(dtype=float)).all(axis=1).sum()),
                stopped=int((status != "ok").sum()),
                on_front=len(front(points)),
                hypervolume=Number(f"{area:.3f}", area),
                mattered=_mattered(group) if len(groups) <= MOST else "",
            )
        )
    return rows


def _mattered(trials: Frame) -> str:
    return ", ".join(f"{plain(name)} {percent(share, digits=0)}\u00a0%" for name, share in importance(trials).items())
