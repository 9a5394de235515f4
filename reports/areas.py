"""What a searched repair can be had for: the front that validation chose, as test shows it, cell by cell."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from benchmark.stats import SLACK, front_area
from reports.compile import Frame
from reports.statistics import Change, Where

BOUNDS = np.linspace(0.0, 1.0, 201)  # of net ASR, along a curve


class Bound(NamedTuple):
    """What a suite's searches may leave of an attack, on validation."""

    rate: float | None
    net: bool  # on ASR minus floor

    def met(self, points: Frame) -> Any:
        """(n,) bool: which rows with the columns `validation_asr` and `validation_floor` are within the bound."""
        if self.rate is None:
            return np.zeros(len(points), dtype=bool)
        left = points["validation_asr"] - (points["validation_floor"] if self.net else 0.0)
        return (left <= self.rate + SLACK).to_numpy()


class Searched(NamedTuple):
    """One searched cell."""

    accuracy: float  # of the undefended model, on test; NaN where there is none
    net: float  # its net ASR
    points: Frame  # of the validation front: test CA and net ASR, and where validation saw them
    trials: int
    trials_within: int  # with an epoch within the bound
    epochs: int  # that validation measured
    epochs_within: int
    reason: str  # why nothing can be said; "" where it can
    sources: Any = ()  # of the undefended model's record row
    keys: Mapping[str, str] = {}  # of the artifacts behind that model, by stage

    @property
    def area(self) -> float:
        """The normalised front area on test; NaN where nothing can be said."""
        if self.reason:
            return math.nan
        return front_area((self.accuracy, self.net), self.points[["clean_accuracy", "net_asr"]].to_numpy())

    def kept(self) -> np.ndarray:
        """(201,) share of the starting CA that can be kept on test under each of `BOUNDS`; its mean is the area."""
        own = self.points[["clean_accuracy", "net_asr"]].to_numpy(dtype=float)
        every = np.vstack([[self.accuracy, self.net], own])
        allowed = every[:, 1].clip(0, 1)[None] <= BOUNDS[:, None] + SLACK
        return np.where(allowed, every[:, 0], 0.0).max(axis=1) / self.accuracy

    def cut(self, bound: Bound) -> Change:
        """Relative change of CA on test at the front's best point within a bound on validation; −1 where none is."""
        if self.reason:
            return Change(math.nan, math.nan, False, self.reason)
        within = self.points[bound.met(self.points)]
        if within.empty:
            return Change(-1.0, 0.0, True, "")
        best = within.loc[within["validation_accuracy"].idxmax()]
        return Change(float(best["clean_accuracy"]) / self.accuracy - 1, math.nan, False, "")


def searched_cells(
    cells: Frame, fronts: Frame, trials: Frame, *, repair: str, objectives: Sequence[str], bound: Bound
) -> dict[Where, Searched]:
    """Every attacked cell that a repair was searched on, under some objectives, in the suite's order.

    Args:
        cells, fronts, trials: the frames of `compile.Results`.
        repair: label of the repair.
        objectives: labels of the pre-training objectives.
        bound: what its searches may leave.
    """
    hit = (cells["attack"] != "none") & (cells["repair"] == repair) & (cells["selection"] == "oracle")
    columns = ["objective", "attack", "seed", "order", "status", "clean_accuracy", "net_asr", "sources", "artifacts"]
    cells, hit = cells[[*columns, "selection"]], hit.to_numpy()
    starts = cells[cells["selection"] == "undefended"]
    start = {(row.objective, row.attack, row.seed): row for row in starts.itertuples(index=False)}
    there = {(row.objective, row.attack, row.seed): row for row in cells[hit].itertuples(index=False)}
    points, seen = dict(iter(fronts.groupby("order"))), dict(iter(trials.groupby("order")))
    attacked = dict.fromkeys((attack, seed) for _, attack, seed in there)
    found = {}
    for attack, seed in attacked:
        for objective in objectives:
            where = (objective, attack, seed)
            row = there.get(where)
            order = None if row is None else row.order
            found[where] = _searched(
                start.get(where), row, points.get(order, fronts.iloc[:0]), seen.get(order, trials.iloc[:0]), bound
            )
    return found


def _searched(start: Any, row: Any, points: Frame, trials: Frame, bound: Bound) -> Searched:
    measured = trials[~trials["collapsed"]].dropna(subset=["validation_accuracy", "validation_asr"])
    within = measured[bound.met(measured)]
    return Searched(
        math.nan if start is None else start.clean_accuracy,
        math.nan if start is None else start.net_asr,
        points.dropna(subset=["clean_accuracy", "net_asr"]),
        trials["trial"].nunique(),
        within["trial"].nunique(),
        len(trials.dropna(subset=["validation_accuracy"])),
        len(within),
        _reason(start, row, points),
        () if start is None else start.sources,
        {} if start is None else keys_of(start.artifacts),
    )


def keys_of(artifacts: Any) -> dict[str, str]:
    """The keys in the JSON text of a record's column `artifacts`."""
    try:
        return {str(stage): str(key) for stage, key in json.loads(artifacts).items() if key}
    except (TypeError, ValueError, AttributeError):
        return {}


def _reason(start: Any, row: Any, points: Frame) -> str:
    if start is None or row is None:
        return "not in the suite"
    for status in (start.status, row.status):
        if status not in ("ok", "repair_failed"):
            return status
    if not start.clean_accuracy > 0:
        return "no clean accuracy"
    if math.isnan(start.net_asr):
        return "no floor"
    # a search that kept no epoch has a front all the same: the start; one that was not asked for a front has none
    return "" if len(points) or row.status == "repair_failed" else "its front was not measured on test"


def area_values(searched: Mapping[Where, Searched]) -> dict[Where, Change]:
    """The normalised front area of each cell, for `statistics.paired_gap`."""
    return {where: Change(cell.area, math.nan, False, cell.reason) for where, cell in searched.items()}
