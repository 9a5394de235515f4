"""What a search had found after its first trials: front area and cut on validation, under smaller and smaller budgets.

Only points of the final front are measured on test, so that what a smaller search would have chosen is known on
validation alone.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from benchmark.stats import SLACK, front_area
from reports.areas import Bound
from reports.compile import JUDGED, Frame

STEPS = (1, 2, 4, 8, 16, 32, 64)


class Budget(NamedTuple):
    """One searched cell under each of `budgets_of`."""

    order: int
    areas: list[float]  # normalised front area on validation; NaN where nothing can be said
    cuts: list[float]  # relative change of CA of the best epoch within the bound; NaN where none met it


def budgets_of(trials: Frame) -> list[int]:
    """Numbers of trials, the last one all of them; none where there is no search."""
    most = int(trials.groupby("order")["trial"].nunique().max()) if len(trials) else 0
    return [*(step for step in STEPS if step < most), most] if most else []


def budgets(cells: Frame, trials: Frame, bound: Bound) -> list[Budget]:
    """Every searched cell of an attack that planted, in the suite's order."""
    steps = budgets_of(trials)
    start = cells[(cells["selection"] == "undefended") & (cells["status"] == "ok")]
    columns = ("objective", "attack", "seed", f"{JUDGED}net_asr")
    nets = {tuple(place): net for *place, net in zip(*(start[name] for name in columns), strict=True)}
    names = ["trial", "validation_accuracy", "validation_asr", "validation_floor", "validation_start", "collapsed"]
    found = []
    for order, own in trials.groupby("order", sort=True):
        where = tuple(own[["objective", "attack", "seed"]].iloc[0])
        if math.isfinite(net := nets.get(where, math.nan)):
            found.append(_budget(int(str(order)), own[names].to_numpy(dtype=float), net, steps, bound))
    return found


def _budget(order: int, rows: np.ndarray, start_net: float, steps: list[int], bound: Bound) -> Budget:
    trial, accuracy, asr, floor, start, collapsed = rows.T
    place = {number: k for k, number in enumerate(sorted(set(trial)))}
    early = np.array([place[number] for number in trial])
    net = asr - np.nan_to_num(floor)
    usable = (collapsed == 0) & np.isfinite(accuracy) & np.isfinite(asr)
    left = net if bound.net else asr
    within = usable & (left <= bound.rate + SLACK) if bound.rate is not None else np.zeros(len(rows), dtype=bool)
    base = start[0]
    if not base > 0:
        return Budget(order, [math.nan] * len(steps), [math.nan] * len(steps))
    areas, cuts = [], []
    for step in steps:
        seen = early < step
        areas.append(front_area((base, start_net), np.c_[accuracy, net][usable & seen]))
        best = accuracy[within & seen]
        cuts.append(float(best.max() / base - 1) if len(best) else math.nan)
    return Budget(order, areas, cuts)
