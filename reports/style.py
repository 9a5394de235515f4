"""Looks of the figures: colour-blind-safe colours, markers, column widths; saving as SVG, PNG and PDF; inline SVG."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

COLUMN_WIDTH, PAGE_WIDTH = 3.25, 6.75  # inches: one and two columns of a paper
INK, MUTED, GRID, PAPER, WITHIN = "#1c1d20", "#5d646d", "#e2e4e8", "#fefefe", "#e3f1ea"
# Okabe and Ito (2008), in an order whose neighbours differ in lightness too; then two of Paul Tol's muted scheme
PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#332288", "#999933")
OBJECTIVES = ("#4b5f80", "#b0476b")
DASHES: tuple[Any, ...] = ("solid", (0, (4, 1.5)), (0, (1.2, 1.2)), (0, (5, 1.2, 1.2, 1.2)))
MARKERS: Mapping[str, str] = {"undefended": "*", "oracle": "D", "trigger_blind": "s", "default": "o"}
REPAIR_MARKERS: tuple[Any, ...] = (  # of repairs that were not searched; tuples: stars of so many points, turned
    *("X", "P", "v", "<", ">", "h", "^", "p", "d", "8"),
    *((4, 1, 0), (3, 1, 0), (6, 1, 0), (4, 1, 45), (3, 1, 180), (8, 1, 0)),
)
# What a page replaces by its own variables, so that an inline figure follows light and dark
PAGE_VARIABLES: Mapping[str, str] = {
    INK: "--ink",
    MUTED: "--muted",
    GRID: "--line",
    PAPER: "--card",
    WITHIN: "--within",
    **{colour: f"--series-{place}" for place, colour in enumerate(PALETTE)},
    **{colour: f"--objective-{place}" for place, colour in enumerate(OBJECTIVES)},
}
SETTINGS: Mapping[Any, Any] = {
    "font.family": ["DejaVu Sans"],
    "font.size": 7.5,
    "axes.titlesize": 8.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 7.5,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.5,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "text.color": INK,
    "text.parse_math": False,  # labels come from outside; a dollar sign is a dollar sign
    "legend.fontsize": 7,
    "legend.frameon": False,
    "figure.facecolor": PAPER,
    "axes.facecolor": PAPER,
    "savefig.facecolor": PAPER,
    "svg.hashsalt": "backstop",
    "pdf.fonttype": 42,
}
_METADATA: Mapping[str, Mapping[str, None]] = {
    "svg": {"Date": None, "Creator": None},
    "png": {"Software": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}


FORMATS = tuple(_METADATA)


def empty_figure(width: float, height: float) -> Figure:
    """A figure with its own canvas, outside pyplot's global state, that lays itself out."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def settle(figure: Figure) -> None:
    """Lays a finished figure out once, instead of again for every format that it is written in."""
    figure.draw_without_rendering()
    figure.set_layout_engine(None)  # "none" would leave one in its place, for which every format is drawn twice


def save(figure: Figure, path_stem: Path) -> list[Path]:
    """Writes `<stem>.svg`, `.png` (300 dpi) and `.pdf`; equal figures give equal bytes."""
    path_stem.parent.mkdir(parents=True, exist_ok=True)
    paths = [path_stem.with_name(f"{path_stem.name}.{kind}") for kind in _METADATA]
    with mpl.rc_context(dict(SETTINGS)):
        for path in paths:
            kind = path.suffix[1:]
            figure.savefig(path, format=kind, dpi=300, metadata=dict(_METADATA[kind]))
    return paths


def inline_svg(figure: Figure, description: str, *, prefix: str) -> str:
    """The figure as an SVG element for a page: real text, the page's colours, no outside reference.

    Args:
        figure: a figure made with the colours of this module.
        description: what it shows, for those who do not see it; plain text, escaped here.
        prefix: put before every id, so that ids are unique on the page.
    """
    from markupsafe import escape

    buffer = io.StringIO()
    with mpl.rc_context({**SETTINGS, "svg.fonttype": "none"}):
        figure.savefig(buffer, format="svg", transparent=True, metadata=dict(_METADATA["svg"]))
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    head, body = text.split(">", 1)
    view_box = re.search(r'viewBox="[-0-9. ]+"', head)
    assert view_box is not None, "matplotlib always writes a viewBox"
    body = re.sub(r"<metadata>.*?</metadata>|<style type=\"text/css\">.*?</style>", "", body, flags=re.DOTALL)
    body = re.sub(r'(?<= id=")|(?<="#)|(?<=url\(#)', f"{prefix}-", body)
    for colour, variable in PAGE_VARIABLES.items():
        body = re.sub(rf"(?<=: ){colour}\b", f"var({variable})", body)
    opening = '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    return f'{opening} {view_box.group()} role="img" aria-label="{escape(description)}">{body}'
