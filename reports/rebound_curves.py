"""Attack success along a benign fine-tuning: a panel for each attacked model, a line for each repair and control."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from reports import style
from reports.compile import Frame
from reports.grid import Names
from reports.labels import RULES, shorten, wrap
from reports.rebound import CONTROLS, REVIVED

COLUMNS = 3  # panels side by side
CURVED = ("objective", "attack", "repair", "selection", "role", "seed", "step", "attack_success_rate")  # what is drawn
DASHES = {"default": "solid", "oracle": (0, (4, 1.5)), "trigger_blind": (0, (1.2, 1.2))}  # dashes of a rule
LOOKS: Mapping[str, Mapping[str, Any]] = {  # of controls
    "undefended": {"color": style.INK, "lw": 1.0},
    "clean_twin": {"color": style.MUTED, "lw": 1.0, "ls": (0, (1.2, 1.2))},
}


def rebound_curves(rows: Frame, names: Names) -> Figure:
    """ASR against steps, means over seeds with a band from the lowest to the highest.

    Args:
        rows: of `Rebounds.rows`, of one scope and learning rate.
        names: titles of the methods.
    """
    panels = list(rows.groupby(["objective", "attack"], sort=False))
    looks = _looks(rows)
    across = min(COLUMNS, rows["attack"].nunique())  # so that objectives stand below each other where attacks are few
    down = math.ceil(len(panels) / across)
    lines = math.ceil(len(looks) / 3)
    with mpl.rc_context(dict(style.SETTINGS)):
        width = style.PAGE_WIDTH if across > 1 else style.COLUMN_WIDTH
        figure = style.empty_figure(width, 0.5 + 0.16 * lines + 2.1 * down)
        grid = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False).ravel()
        for axes, ((objective, attack), own) in zip(grid, panels, strict=False):
            _panel(axes, own, looks)
            said = f"{shorten(names.objective[str(objective)], 16)}, {shorten(names.attack[str(attack)], 18)}"
            axes.set_title(said)
        for axes in grid[len(panels) :]:
            axes.remove()
        for place, axes in enumerate(grid[: len(panels)]):
            if place + across >= len(panels):
                axes.set_xlabel("Steps of fine-tuning")
                axes.tick_params(labelbottom=True)
            if place % across == 0:
                axes.set_ylabel("Attack success rate (%)")
        for (role, repair, rule), look in looks.items():
            said = CONTROLS.get(role) or f"{names.repair[repair]}, {RULES[rule]}"
            grid[0].plot([], [], label=wrap(said), **look)
        figure.legend(*grid[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, columnspacing=1.4)
        style.settle(figure)
    return figure


def _looks(rows: Frame) -> dict[tuple[str, str, str], Mapping[str, Any]]:
    """Role, repair and rule -> how its line looks: a colour for each repair, dashes for each rule."""
    repairs = list(dict.fromkeys(rows.loc[rows["role"] == "repaired", "repair"]))
    found: dict[tuple[str, str, str], Mapping[str, Any]] = {}
    for role, repair, rule in rows[["role", "repair", "selection"]].drop_duplicates().itertuples(index=False):
        look = LOOKS.get(role) or {
            "color": style.PALETTE[repairs.index(repair) % len(style.PALETTE)],
            "lw": 1.4,
            "ls": DASHES[rule],
            # colours come again after eight repairs, and then with a mark
            "marker": (None, *style.REPAIR_MARKERS)[repairs.index(repair) // len(style.PALETTE)],
            "ms": 3,
        }
        found[role, repair, rule] = look
    return found


def _panel(axes: Axes, rows: Frame, looks: Mapping[tuple[str, str, str], Mapping[str, Any]]) -> None:
    axes.axhline(100 * REVIVED, color=style.GRID, lw=1.2, zorder=0)
    for place, own in rows.groupby(["role", "repair", "selection"], sort=False):
        rates = 100 * own.pivot_table(index="step", columns="seed", values="attack_success_rate")
        look = looks[place]  # type: ignore[index]
        axes.plot(rates.index, rates.mean(axis=1), **look)
        if rates.shape[1] > 1:
            axes.fill_between(rates.index, rates.min(axis=1), rates.max(axis=1), color=look["color"], alpha=0.15, lw=0)
    axes.set_xlim(0, rows["step"].max())
    axes.set_ylim(-2, 102)
