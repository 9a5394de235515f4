"""The repair-cost curve: how much clean accuracy is kept under every bound on ASR, a line for each objective."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from reports import style
from reports.answer import Answer
from reports.areas import BOUNDS, Searched
from reports.labels import percent, shorten
from reports.statistics import Where


def mean_curves(searched: Mapping[Where, Searched], used: frozenset[tuple[str, int]], objective: str) -> np.ndarray:
    """(seeds, 201) share of the starting CA that is kept under each of `BOUNDS`: mean over the attacks of a seed.

    Args:
        searched: of `areas.searched_cells`.
        used: (attack, seed) of the pairs that the answer rests on.
        objective: label.
    """
    by_seed: dict[int, list[np.ndarray]] = {}
    for (name, attack, seed), cell in searched.items():
        if name == objective and (attack, seed) in used:
            by_seed.setdefault(seed, []).append(cell.kept())
    return np.array([np.mean(curves, axis=0) for curves in by_seed.values()])


def cost_curve(answer: Answer, *, width: float = style.COLUMN_WIDTH) -> Figure:
    """CA kept against the bound on net ASR: a line per objective, its mean height the front area, a band over seeds."""
    used = frozenset((pair.attack, pair.seed) for pair in answer.gap.used)
    with mpl.rc_context(dict(style.SETTINGS)):
        figure = style.empty_figure(width, 2.3)
        axes = figure.subplots()
        areas = answer.gap.overall.first, answer.gap.overall.second
        for place, (objective, area) in enumerate(zip(answer.gap.objectives, areas, strict=True)):
            curves = 100 * mean_curves(answer.searched, used, objective)
            colour = style.OBJECTIVES[place]
            said = f"{shorten(answer.objectives[place], 24)}: {percent(area)} %"
            axes.plot(100 * BOUNDS, curves.mean(axis=0), color=colour, lw=1.6, ls=style.DASHES[place], label=said)
            if len(curves) > 1:
                low, high = curves.min(axis=0), curves.max(axis=0)
                axes.fill_between(100 * BOUNDS, low, high, color=colour, alpha=0.18, lw=0)
        axes.set_xlim(0, 100)
        axes.set_ylim(bottom=0)
        axes.set_xlabel("Net ASR that may be left (%)")
        axes.set_ylabel("Clean accuracy kept (%)")
        figure.legend(loc="outside upper left", ncols=2, columnspacing=1.2)
        style.settle(figure)
    return figure
