"""What benign fine-tuning makes of repaired models: how far attack success comes back, beside both controls."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from reports.compile import Frame
from reports.grid import Names
from reports.labels import NO_VALUE, RULES, known, percent, signed
from reports.numbers import BLANK, Number
from reports.trajectories import Rebounds

REVIVED = 0.2  # ASR from which a backdoor counts as revived
CONTROLS = {"undefended": "undefended", "clean_twin": "clean twin"}


class Course(NamedTuple):
    """One trajectory in a few numbers; shares in [0, 1]."""

    start: float  # ASR of the weights as they were
    highest: float  # along the trajectory, the start among it
    area: float  # under ASR over the share of the steps that are done, linear in steps; NaN where it ended before
    revival: int | None  # first step with ASR of at least REVIVED
    net: float  # highest ASR above the clean twin's after as many steps
    accuracy: float  # CA of the weights as they were
    kept: float  # CA at the end


def course(rows: Frame, last: int) -> Course:
    """The numbers of one trajectory.

    Args:
        rows: of `Rebounds.rows`, rising steps.
        last: the last step that was asked for.
    """
    steps, rates = rows["step"].to_numpy(), rows["attack_success_rate"].to_numpy()
    return Course(
        float(rates[0]),
        float(rates.max()),
        area(steps, rates) if steps[-1] == last else math.nan,
        revival(steps, rates),
        float(rows["net_asr"].max()),
        float(rows["clean_accuracy"].iloc[0]),
        float(rows["clean_accuracy"].iloc[-1]),
    )


def area(steps: np.ndarray, rates: np.ndarray) -> float:
    """Mean height of the curve: trapezoids over step / last step, which is linear in steps."""
    return float(np.trapezoid(rates, steps / steps[-1]))


def revival(steps: np.ndarray, rates: np.ndarray) -> int | None:
    """The first step with ASR of at least REVIVED; None where there is none."""
    hits = np.flatnonzero(rates >= REVIVED - 1e-9)
    return int(steps[hits[0]]) if len(hits) else None


def highest(found: Rebounds, cells: Frame) -> list[float]:
    """(rows of `cells`,) highest ASR of repaired and undefended models on the trajectory that is named first; NaN."""
    scope, rate = found.first or ("", 0.0)
    here = (found.rows["scope"] == scope) & (found.rows["learning_rate"] == rate) & (found.rows["role"] != "clean_twin")
    tops = found.rows[here].groupby(["cell", "selection"])["attack_success_rate"].max().to_dict()
    return [tops.get(place, math.nan) for place in zip(cells["cell"], cells["selection"], strict=True)]


class CourseRow(NamedTuple):
    """One repaired model, or control, means over seeds."""

    objective: str
    attack: str
    model: str
    rule: str  # "" for a control
    control: bool
    numbers: list[Number]  # ASR at first, highest, rise, area, highest net ASR, CA at first, at the end, change
    revival: str  # a step for each seed
    note: str  # seeds that are missing, trajectories that ended before


def form_title(scope: str, rate: float) -> str:
    """`All weights at 0.001`."""
    return f"{'All weights' if scope == 'full' else 'Projections alone'} at {rate:g}"


class ReboundTable(NamedTuple):
    """All trajectories of one form: which weights moved, at which rate."""

    scope: str
    rate: float
    rows: list[CourseRow]

    @property
    def title(self) -> str:
        """`All weights at 0.001`."""
        return form_title(self.scope, self.rate)


class ReboundPart(NamedTuple):
    """The board's part about rebounds."""

    tables: list[ReboundTable]
    missing: str  # "3 of 12 trajectories of repaired models are not there yet"; "" where none is
    steps: str
    pairs: str  # what the models were fine-tuned on
    several: bool  # whether numbers are means over seeds


def rebound_part(found: Rebounds, names: Names, suite: Any) -> ReboundPart | None:
    """Tables in the order that the suite asks in; None where there is no trajectory."""
    asked = suite.get("protocol", {}).get("rebound") or {}
    if found.rows.empty:
        return None
    last, seeds = asked["steps"][-1], len(asked["seeds"])
    tables = [
        ReboundTable(str(scope), float(rate), course_rows(own, names, last=last, seeds=seeds))
        for (scope, rate), own in found.rows.groupby(["scope", "learning_rate"], sort=False)
    ]
    left = found.wanted - found.found
    missing = f"{left} of {found.wanted} trajectories of repaired models are not there" if left else ""
    words = (
        ", without those of the target's class and those whose caption has its name" if asked["without_target"] else ""
    )
    drawn = f"{asked['rows']} pairs" if asked["rows"] else "the pairs"
    pairs = f"{drawn} of the clean split{words}, in batches of {asked['batch_size']}"
    return ReboundPart(tables, missing, ", ".join(map(str, asked["steps"])), pairs, found.rows["seed"].nunique() > 1)


def course_rows(rows: Frame, names: Names, *, last: int, seeds: int) -> list[CourseRow]:
    """A row for each model and rule, the controls of a model above its repairs."""
    found = []
    for (objective, attack), model in rows.groupby(["objective", "attack"], sort=False):
        for (role, repair, selection), own in model.groupby(["role", "repair", "selection"], sort=False):
            courses = [course(part, last) for _, part in own.groupby("seed", sort=True)]
            control = role in CONTROLS
            found.append(
                CourseRow(
                    names.objective[str(objective)],
                    names.attack[str(attack)],
                    CONTROLS[str(role)] if control else names.repair[str(repair)],
                    "" if control else RULES[str(selection)],
                    control,
                    _numbers(courses),
                    ", ".join(str(one.revival) if one.revival is not None else NO_VALUE for one in courses),
                    _note(own, len(courses), seeds),
                )
            )
    return found


def _numbers(courses: Sequence[Course]) -> list[Number]:
    def mean(values: Iterable[float]) -> float:
        return float(np.mean([*values]))

    start, highest, whole_area, net, before, after = (
        mean(getattr(one, name) for one in courses) for name in ("start", "highest", "area", "net", "accuracy", "kept")
    )
    return [
        _share(start), _share(highest), _change(highest - start), _share(whole_area), _change(net),
        _share(before), _share(after), _change(after - before),
    ]  # fmt: skip


def _share(value: float) -> Number:
    return Number(percent(value), value) if known(value) else BLANK


def _change(value: float) -> Number:
    return Number(signed(value), value) if known(value) else BLANK


def _note(rows: Frame, there: int, seeds: int) -> str:
    ended = [reason for reason in rows["reason"].unique() if reason]
    return "; ".join([*([f"{there} of {seeds} seeds"] if there < seeds else []), *ended])
