"""Heat maps: ASR and lost clean accuracy of repairs against attacks, AUROC of detectors against attacks."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from typing import NamedTuple

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from reports import style
from reports.detection import Group
from reports.labels import percent, shorten, wrap
from reports.matrix import Matrix
from reports.numbers import BLANK, Scale

DEEPEST = 0.6  # opacity of a full cell: text stays readable on it, on light and on dark paper
LOSS_FULL = 0.3  # lost clean accuracy that is drawn as deep as it gets


class Square(NamedTuple):
    """One cell of a heat map: its colour, how deep, and what stands in it."""

    colour: str
    depth: float  # 0..1
    text: str
    muted: bool = False
    hatched: bool = False  # its low ASR was bought with accuracy


def repair_map(matrix: Matrix, *, width: float = style.PAGE_WIDTH) -> Figure:
    """ASR left (left panel) and clean accuracy lost (right panel) of every repair against every attack."""
    attacks = [name for name, _ in matrix.attacks]
    at = [place for place, name in enumerate(attacks) if name != "no attack"]
    rows = [(row.title, row.entries) for row in matrix.rows]
    hot, lost = style.PALETTE[1], style.PALETTE[0]
    asr = [
        [_share(entries[place].asr, hot, entries[place].off)._replace(hatched=entries[place].costly) for place in at]
        for _, entries in rows
    ]
    losses = [[_loss(entry.loss, lost, entry.off) for entry in entries] for _, entries in rows[1:]]
    losses = [[Square(lost, 0, "", True)] * len(attacks), *losses]
    starts = _starts([len(group) for _, group in matrix.groups])
    panels = [("ASR (%)", [attacks[place] for place in at], asr), ("Clean accuracy lost (points)", attacks, losses)]
    return _figure(panels, [title for title, _ in rows], starts, width=width)


def detector_map(groups: Sequence[Group], scale: Scale, *, width: float = style.PAGE_WIDTH) -> Figure:
    """AUROC of every filter and test-time detector against every attack, one panel per objective."""
    scored = [
        group for group in groups if any(line.numbers.get("auroc", BLANK).sort is not None for line in group.lines)
    ]
    objectives = list(dict.fromkeys(group.objective for group in scored))
    titles = list(dict.fromkeys(line.detector for group in scored for line in group.lines))
    panels = []
    for objective in objectives:
        own = [group for group in scored if group.objective == objective]
        attacks = list(dict.fromkeys(group.attack for group in own))
        values = {
            (line.detector, group.attack): line.numbers.get("auroc", BLANK).sort
            for group in own
            for line in group.lines
        }
        squares = [[_scaled(values.get((title, attack)), scale) for attack in attacks] for title in titles]
        panels.append((objective, attacks, squares))
    return _figure(panels, titles, [0], width=width)


def _share(value: float, colour: str, off: str) -> Square:
    if math.isnan(value):
        return Square(colour, 0, _short(off), True)
    return Square(colour, value, percent(value, 0), bool(off))


def _loss(value: float, colour: str, off: str) -> Square:
    if math.isnan(value):
        return Square(colour, 0, _short(off), True)
    text = percent(value, 0)
    return Square(colour, min(max(value / LOSS_FULL, 0), 1), text, bool(off))


def _scaled(value: float | None, scale: Scale) -> Square:
    """Green towards the better bound of a measure, orange towards the other, white in the middle and without bounds."""
    if value is None:
        return Square(style.PALETTE[2], 0, "–", True)
    place = scale.place(value)
    place = 0.5 if place is None else place
    good = (place >= 0.5) == (scale.higher_is_better is not False)
    colour = style.PALETTE[2] if good else style.PALETTE[1]
    return Square(colour, abs(2 * place - 1), f"{value:.2f}".removeprefix("0"))


def _short(off: str) -> str:
    return {"did not plant": "–", "": "–"}.get(off) or textwrap.fill(off, 7, break_long_words=False)


def _starts(sizes: Sequence[int]) -> list[int]:
    """Where groups of rows begin."""
    return [sum(sizes[:place]) for place in range(len(sizes))]


def _figure(
    panels: Sequence[tuple[str, Sequence[str], Sequence[Sequence[Square]]]],
    titles: Sequence[str],
    starts: Sequence[int],
    *,
    width: float,
) -> Figure:
    with mpl.rc_context({**style.SETTINGS, "axes.grid": False}):
        named = [wrap(title, 24) for title in titles]
        pitch = 0.1 + 0.09 * max((name.count("\n") + 1 for name in named), default=1)  # inches a row
        figure = style.empty_figure(width, 0.95 + pitch * len(titles))
        ratios = [max(len(columns), 1) for _, columns, _ in panels]
        axes = figure.subplots(1, len(panels), sharey=True, squeeze=False, width_ratios=ratios)[0]
        for each, (title, columns, squares) in zip(axes, panels, strict=True):
            _panel(each, squares, columns, starts)
            each.set_title(shorten(title, 40))
        axes[0].set_yticks(range(len(titles)), named)
        axes[0].set_ylim(len(titles) - 0.5, -0.5)
        style.settle(figure)
    return figure


def _panel(axes: Axes, squares: Sequence[Sequence[Square]], columns: Sequence[str], starts: Sequence[int]) -> None:
    for row, line in enumerate(squares):
        for column, square in enumerate(line):
            alpha = DEEPEST * square.depth
            box = Rectangle((column - 0.48, row - 0.46), 0.96, 0.92, fc=square.colour, alpha=alpha, lw=0)
            axes.add_patch(box)
            if square.hatched:
                axes.add_patch(Rectangle(box.get_xy(), 0.96, 0.92, fill=False, ec=style.GRID, hatch="/////", lw=0))
            ink = style.MUTED if square.muted else style.INK
            size = 5 if "\n" in square.text else 6.5  # words on several lines
            axes.text(column, row, square.text, ha="center", va="center_baseline", fontsize=size, color=ink)
    for start in starts:
        if start:
            axes.axhline(start - 0.5, color=style.GRID, lw=0.8)
    axes.set_xlim(-0.5, len(columns) - 0.5)
    axes.set_xticks(range(len(columns)), [wrap(name, 16) for name in columns], rotation=35, ha="right")
    axes.tick_params(axis="both", length=0, labelcolor=style.INK)
    for spine in axes.spines.values():
        spine.set_visible(False)
