"""The board's figures: the CA-against-ASR scatter with its Pareto fronts, and the repair gap attack by attack."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from benchmark.stats import Z, front
from reports import style
from reports.compile import JUDGED, Frame, repaired_attacks
from reports.grid import Names
from reports.labels import RULES, shorten, wrap
from reports.statistics import Change, RepairGap

SCATTERED = ("objective", "attack", "repair", "seed", "selection", "searched", "x", "y")  # all that the scatter reads
SCATTERED_TRIALS = ("objective", "attack", "repair", "seed", "collapsed", "x", "y")
RASTER_FROM = 3000  # points from which a panel's cloud becomes a picture inside the vector file


class Scene(NamedTuple):
    """What the scatter shows, in percent: test points, validation points, and where the bound lies."""

    cells: Frame  # columns x, y and those of `compile.Results.cells`
    trials: Frame  # columns x, y and those of `compile.Results.trials`
    net: bool  # x is ASR minus floor
    bound: float | None
    hidden: int  # validation points that have no x, since their floor is not known
    names: Names


def scene(
    cells: Frame,
    trials: Frame,
    names: Names,
    *,
    bound_on: str,
    bound: float | None,
) -> Scene:
    """Places test and validation points of the attacks whose models are repaired.

    On a net bound, x is ASR minus the floor of the same split, as the rules take it.
    Validation looks at the model as it is, so that attacks that show only in a transformed one have no such points.
    """
    net = bound_on == "net"
    attacked = (cells["attack"] != "none") & cells["attack"].isin(repaired_attacks(cells))
    shown = cells[attacked & cells[f"{JUDGED}clean_accuracy"].notna()]
    rate = f"{JUDGED}{'net_asr' if net else 'attack_success_rate'}"
    shown = shown.assign(x=100 * shown[rate], y=100 * shown[f"{JUDGED}clean_accuracy"])
    waiting = cells.loc[cells["under"] != "", "attack"].unique()
    points = trials[~trials["attack"].isin(waiting)].dropna(subset=["validation_accuracy", "validation_asr"])
    rate = points["validation_asr"] - points["validation_floor"] if net else points["validation_asr"]
    points = points.assign(x=100 * rate, y=100 * points["validation_accuracy"])
    placed = points.dropna(subset=["x"])
    shown = shown.dropna(subset=["x"])
    limit = None if bound is None else 100 * bound
    return Scene(shown, placed, net, limit, len(points) - len(placed), names)


def scatter(scene: Scene, objectives: Sequence[str], *, width: float = style.PAGE_WIDTH) -> Figure:
    """CA against ASR, one panel per pre-training objective.

    Small dots are validation points of single epochs, lines the Pareto fronts of those that did not collapse (one per
    attack, searched repair and seed), large marks the test results of the selected points.

    Args:
        scene: from `scene`.
        objectives: panels, in order.
        width: inches; panels stand side by side where it is the page's width, else below each other.
    """
    columns = min(len(objectives), 3) if width > style.COLUMN_WIDTH else 1
    rows = math.ceil(len(objectives) / columns)
    attacks = list(dict.fromkeys([*scene.cells["attack"], *scene.trials["attack"]]))
    with mpl.rc_context(dict(style.SETTINGS)):
        handles, listed = _legend(scene, attacks), 5 if columns > 1 else 2  # entries a line of the legend
        lines = math.ceil(len(handles) / listed)
        figure = style.empty_figure(width, 0.4 + 0.14 * max(lines, 3) + rows * (2.75 if columns > 1 else 2.4))
        panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel()
        _limits(panels[0], scene)  # before anything is drawn: else every mark looks for new limits
        for axes, objective in zip(panels, objectives, strict=False):
            _panel(axes, scene, objective, attacks)
            axes.set_title(shorten(scene.names.objective[objective], 40))
        for axes in panels[len(objectives) :]:
            axes.remove()
        for place, axes in enumerate(panels[: len(objectives)]):
            if place + columns >= len(objectives):
                axes.set_xlabel("Net ASR = ASR − floor (%)" if scene.net else "Attack success rate (%)")
                axes.tick_params(labelbottom=True)
            if place % columns == 0:
                axes.set_ylabel("Clean accuracy (%)")
        figure.legend(handles=handles, loc="outside lower center", ncols=listed, columnspacing=1.4)
        style.settle(figure)
    return figure


def _panel(axes: Axes, scene: Scene, objective: str, attacks: Sequence[str]) -> None:
    if scene.bound is not None:
        # far below its floor a model answers away from the target: that is no deeper cure
        axes.axvspan(-scene.bound if scene.net else -200, scene.bound, color=style.WITHIN, lw=0, zorder=0)
    trials = scene.trials[scene.trials["objective"] == objective]
    cells = scene.cells[scene.cells["objective"] == objective]
    many = len(trials) > RASTER_FROM
    colours = {attack: style.PALETTE[place % len(style.PALETTE)] for place, attack in enumerate(attacks)}
    if len(trials):
        drawn = {"s": 9, "alpha": 0.4, "lw": 0, "zorder": 2, "rasterized": many}
        axes.scatter(trials["x"], trials["y"], color=list(trials["attack"].map(colours)), **drawn)
    for place, attack in enumerate(attacks):
        cloud = trials[(trials["attack"] == attack) & ~trials["collapsed"]]
        steps = [_steps(group) for _, group in cloud.groupby(["repair", "seed"], sort=False)]
        dashes = style.DASHES[place % len(style.DASHES)]
        lines = LineCollection(steps, colors=colours[attack], lw=1.3, ls=[dashes], zorder=3, rasterized=many)
        axes.add_collection(lines, autolim=False)
    for marker, points in _points(cells, _repair_markers(scene)).items():
        x, y, own = zip(*points, strict=True)
        size = 95 if marker == "*" else 30
        face = [colours[attack] for attack in own]
        crowd = len(cells) > RASTER_FROM // 10
        axes.scatter(x, y, s=size, marker=marker, c=face, ec=style.PAPER, lw=0.7, zorder=5, rasterized=crowd)


def _steps(points: Frame) -> np.ndarray:
    """(2k − 1, 2) the corners of a front's steps: a value holds until the next point."""
    best = points.iloc[front(points[["y", "x"]].to_numpy() / 100)].sort_values("x")[["x", "y"]].to_numpy()
    return np.c_[np.repeat(best[:, 0], 2)[1:], np.repeat(best[:, 1], 2)[:-1]]


def _points(cells: Frame, markers: Mapping[str, Any]) -> dict[Any, list[tuple[float, float, str]]]:
    """Test points and their attacks, by their mark: of the rule, but of the repair where it was not searched."""
    found: dict[Any, list[tuple[float, float, str]]] = {}
    columns = (cells[name] for name in ("searched", "selection", "repair", "x", "y", "attack"))
    for searched, selection, repair, x, y, attack in zip(*columns, strict=True):
        by_rule = searched or selection == "undefended"
        found.setdefault(style.MARKERS[selection] if by_rule else markers[repair], []).append((x, y, attack))
    return found


def _repair_markers(scene: Scene) -> dict[str, Any]:
    """A mark for every repair that is not searched, no two the same while there are marks."""
    cells = scene.cells
    repairs = cells.loc[~cells["searched"].astype(bool) & (cells["repair"] != "none"), "repair"].unique()
    return dict(zip(repairs, itertools.cycle(style.REPAIR_MARKERS), strict=False))


def _limits(axes: Axes, scene: Scene) -> None:
    x = np.concatenate([scene.cells["x"], scene.trials["x"], [0.0, 100.0]])
    y = np.concatenate([scene.cells["y"], scene.trials["y"]])
    axes.set_xlim(x.min() - 3, x.max() + 3)
    if len(y):
        axes.set_ylim(max(0.0, y.min() - 4), min(103.0, y.max() + 4))


def _attack_handle(place: int, scene: Scene) -> Any:
    """A front's line, or a patch of the attack's colour where no search has a front."""
    colour = style.PALETTE[place % len(style.PALETTE)]
    if scene.trials.empty:
        return Patch(color=colour)
    return Line2D([], [], color=colour, lw=1.5, ls=style.DASHES[place % len(style.DASHES)])


def _legend(scene: Scene, attacks: Sequence[str]) -> list[Any]:
    names = scene.names
    handles = [_attack_handle(place, scene) for place, _ in enumerate(attacks)]
    for handle, attack in zip(handles, attacks, strict=True):
        handle.set_label(wrap(names.attack[attack]))
    rules = [rule for rule in style.MARKERS if rule in set(scene.cells["selection"])]
    if not scene.cells["searched"].any():
        rules = [rule for rule in rules if rule == "undefended"]
    marks: list[tuple[Any, str]] = [(style.MARKERS[rule], RULES[rule]) for rule in rules]
    marks += [(marker, wrap(names.repair[repair])) for repair, marker in _repair_markers(scene).items()]
    for marker, label in marks:
        size = 8 if marker == "*" else 4.5
        handles.append(Line2D([], [], color=style.MUTED, ls="none", marker=marker, ms=size, label=label))
    if scene.bound is not None:
        handles.append(
            Patch(
                color=style.WITHIN,
                label=f"net ASR within ±{scene.bound:g} %" if scene.net else f"ASR ≤ {scene.bound:g} %",
            )
        )
    return handles


def gap_chart(gap: RepairGap, names: Names, *, width: float = style.COLUMN_WIDTH) -> Figure:
    """Relative change of clean accuracy under both objectives, one row per attack and seed of the repair gap."""
    pairs = [pair for attack in gap.by_attack for pair in gap.pairs if pair.attack == attack]
    pairs = [pair for pair in pairs if not math.isnan(pair.gap)]
    several = len({pair.seed for pair in gap.pairs}) > 1
    with mpl.rc_context(dict(style.SETTINGS)):
        figure = style.empty_figure(width, 0.85 + 0.34 * max(len(pairs), 1))
        axes = figure.subplots()
        ends = [[(100 * pair.first.value, row), (100 * pair.second.value, row)] for row, pair in enumerate(pairs)]
        axes.add_collection(LineCollection(ends, colors=style.GRID, lw=3, zorder=1, capstyle="projecting"))
        for place in range(2):
            _dots(axes, place, [(pair.first, pair.second)[place] for pair in pairs])
        axes.axvline(0, color=style.MUTED, lw=0.8, zorder=0)
        named = [shorten(names.attack[pair.attack], 18) + (f", seed {pair.seed}" if several else "") for pair in pairs]
        axes.set_yticks(range(len(pairs)), named)
        axes.tick_params(axis="y", length=0, labelcolor=style.INK)
        axes.set_ylim(len(pairs) - 0.5, -0.5)
        axes.grid(axis="y", visible=False)
        axes.spines["left"].set_visible(False)
        axes.margins(x=0.08)
        axes.set_xlabel("Change of clean accuracy (%)")
        handles = [
            Line2D(
                [],
                [],
                color=style.OBJECTIVES[i],
                marker="os"[i],
                ls="none",
                ms=5,
                label=shorten(names.objective[name]),
            )
            for i, name in enumerate(gap.objectives)
        ]
        if any(change.by_rule for pair in pairs for change in (pair.first, pair.second)):
            hollow = {"mfc": style.PAPER, "mec": style.MUTED, "mew": 1.2}
            handles.append(Line2D([], [], marker="o", ls="none", ms=5, label="no point met the bound", **hollow))
        figure.legend(handles=handles, loc="outside upper left", ncols=3, handletextpad=0.2, columnspacing=1.2)
        style.settle(figure)
    return figure


def _dots(axes: Axes, place: int, changes: Sequence[Change]) -> None:
    """One objective's values with their sample-noise intervals, row by row; hollow where a rule has set one."""
    colour = style.OBJECTIVES[place]
    rows, values = np.arange(len(changes)), np.array([100 * change.value for change in changes])
    halves = np.array([100 * Z * math.sqrt(change.variance) for change in changes])
    wide = halves > 0
    axes.errorbar(values[wide], rows[wide], xerr=halves[wide], color=colour, lw=0, elinewidth=1.0, capsize=0, zorder=2)
    faces = [style.PAPER if change.by_rule else colour for change in changes]
    axes.scatter(values, rows, s=34, marker="os"[place], c=faces, ec=colour, lw=1.3, zorder=3)
