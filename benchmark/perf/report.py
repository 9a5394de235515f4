"""The lines of the bench table, and repetitions that cancel the noise of a shared machine."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple


class Settings(NamedTuple):
    """What the command line chose."""

    threads: int  # of torch
    data: Path | None  # folder of CIFAR-10's layout; None: drawn shapes, written as JPEG


class Line(NamedTuple):
    """One line of a bench's table; numbers without their unit, which `what` names."""

    what: str  # with the unit: "all metrics (s)"
    ours: str
    baseline: str
    ratio: float | None
    target: str = ""  # of the ratio, or of ours where there is none; "": told for information
    met: bool | None = None


def at_least(what: str, ours: str, baseline: str, *, ratio: float, limit: float) -> Line:
    """A line whose ratio must not be below `limit`."""
    return Line(what, ours, baseline, ratio, f">= {limit:g}", ratio >= limit)


def at_most(what: str, ours: str, baseline: str, *, ratio: float, limit: float) -> Line:
    """A line whose ratio must not be above `limit`."""
    return Line(what, ours, baseline, ratio, f"<= {limit:g}", ratio <= limit)


def seconds(action: Callable[[], object]) -> float:
    """How long a call takes."""
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


class Pair(NamedTuple):
    """Seconds of two sides that took turns: medians, and the median of the ratios of neighbours."""

    ours: float
    baseline: float
    ratio: float  # ours / baseline


def paired(ours: list[float], baseline: list[float]) -> Pair:
    """Medians of two lists of seconds that were measured in turn; what slows the machine hits both sides of a ratio."""
    ratios = [a / b for a, b in zip(ours, baseline, strict=True)]
    return Pair(statistics.median(ours), statistics.median(baseline), statistics.median(ratios))


def in_turn(ours: Callable[[], object], baseline: Callable[[], object], *, repeats: int) -> Pair:
    """Measures both sides in turn, after one unmeasured call of each."""
    ours()
    baseline()
    times = [(seconds(ours), seconds(baseline)) for _ in range(repeats)]
    return paired([a for a, _ in times], [b for _, b in times])
