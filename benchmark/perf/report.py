"""The lines of the bench table, and repetitions that cancel the noise of a shared machine."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from rich import box
from rich.table import Table
from rich.text import Text

TABLE_WIDTH = 80  # columns of a terminal that nobody has widened


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


def table(about: str | None, lines: list[Line]) -> Table:
    """The lines of one bench under the first line of its file; 80 columns hold it, and it grows no wider."""
    title = Text((about or "").partition("\n")[0], style="bold")
    shown = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, show_edge=False, width=TABLE_WIDTH)
    shown.padding = (0, 1, 0, 0)
    shown.add_column("measure", ratio=1)
    for header, width in (("ours", 7), ("baseline", 8), ("ratio", 5), ("target", 6)):
        shown.add_column(header, justify="right", no_wrap=True, min_width=width)
    shown.add_column("met", no_wrap=True, min_width=3)
    for line in lines:
        met = "" if line.met is None else "[green]yes[/]" if line.met else "[bold red]NO[/]"
        ratio = "" if line.ratio is None else f"{line.ratio:.2f}"
        shown.add_row(line.what, line.ours, line.baseline, ratio, line.target, met)
    return shown
