"""Writes the board: one static page that opens from a file, its figures, and the records as CSV."""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from benchmark.store import Store
from reports import headline, style, views
from reports.compile import Frame, Results, compile_suite
from reports.figures import gap_chart, scatter, scene
from reports.grid import Names, grid_rows, names_of, readout_table, search_rows
from reports.labels import MEASURES, RULES, plain, split
from reports.statistics import RepairGap

TEMPLATES = Path(__file__).parent / "templates"
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


def write_board(store: Store, suite_name: str, out: Path) -> Path:
    """Compiles a suite and writes `index.html`, `figures/`, `records.csv` and `measures.csv`.

    Args:
        store: where the suite's document and records are.
        suite_name: name of a suite that was run or planned into this store.
        out: folder of the board; made if it is not there.

    Returns:
        The path of `index.html`, which is written last.

    Raises:
        UserError: the store holds no such suite, or a record cannot be read.
    """
    results = compile_suite(store, suite_name)
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    gaps = headline.repair_gaps(results.cells, list(dict.fromkeys(results.cells["objective"])))
    figures, hidden = _write_figures(results, gaps, out / "figures")
    _write_tables(results, out)
    page = (
        _environment().get_template("board.html.j2").render(**_context(results, gaps), figures=figures, hidden=hidden)
    )
    temporary = out / ".index.html.part"
    temporary.write_text(page, encoding="utf-8")
    os.replace(temporary, out / "index.html")
    return out / "index.html"


@lru_cache(maxsize=1)
def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(TEMPLATES, encoding="utf-8"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _search(suite: Mapping[str, Any]) -> tuple[float | None, str]:
    search = suite.get("protocol", {}).get("search") or {}
    return search.get("asr_bound"), search.get("bound_on", "absolute")


def _write_figures(results: Results, gaps: list[RepairGap], folder: Path) -> tuple[dict[str, Markup], int]:
    """Saves every figure; returns those that the page shows, as SVG elements, and how many points they leave out."""
    bound, bound_on = _search(results.suite)
    objectives = list(dict.fromkeys(results.cells["objective"]))
    inline: dict[str, Markup] = {}
    shown = scene(results.cells, results.trials, bound_on=bound_on, bound=bound)
    if len(shown.cells) or len(shown.trials):
        figure = scatter(shown, objectives)
        style.save(figure, folder / "scatter")
        narrow = scatter(shown, objectives, width=style.COLUMN_WIDTH)
        style.save(narrow, folder / "scatter-column")
        about = "Clean accuracy against attack success rate, one panel per pre-training objective; numbers in the grid"
        inline["scatter"] = Markup(style.inline_svg(figure, about, prefix="scatter"))
        inline["scatter_narrow"] = Markup(style.inline_svg(narrow, about, prefix="scatter-narrow"))
    if gaps and gaps[0].used:
        figure = gap_chart(gaps[0])
        style.save(figure, folder / "repair-gap")
        about = "Relative change of clean accuracy per attack under both objectives; numbers in the table"
        inline["gap"] = Markup(style.inline_svg(figure, about, prefix="repair-gap"))
    return inline, shown.hidden


def _write_tables(results: Results, out: Path) -> None:
    cells = results.cells.drop(columns=["order", "rule_order", "row"])
    _guarded(cells).to_csv(out / "records.csv", index=False)
    axes = results.cells[["row", "cell", "objective", "attack", "repair", "seed", "selection", "status"]]
    _guarded(results.measures.merge(axes, on="row").drop(columns="row")).to_csv(out / "measures.csv", index=False)


def _guarded(frame: Frame) -> Frame:
    """Texts that a spreadsheet would take for a formula get a quote in front."""

    def guard(value: Any) -> Any:
        return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA_STARTS) else value

    texts = {name: frame[name].map(guard) for name in frame.columns if not pd.api.types.is_numeric_dtype(frame[name])}
    return frame.assign(**texts)


def _context(results: Results, gaps: list[RepairGap]) -> dict[str, Any]:
    suite, cells = results.suite, results.cells
    names = names_of(cells)
    bound, bound_on = _search(suite)
    script = (TEMPLATES / "board.js").read_text(encoding="utf-8")
    searched = gaps[0].repair if gaps else None
    rate = "net_asr" if bound_on == "net" else "attack_success_rate"
    seeds = sorted(set(cells["seed"]))
    return {
        "suite": plain(suite["suite"]),
        "title": plain(suite.get("title") or suite["suite"]),
        "key": plain(suite.get("key", "")),
        "command": plain(suite.get("command") or f"backstop run {suite['suite']}"),
        "datasets": sorted(set(cells["dataset"])),
        "models": sorted(set(cells["model"])),
        "devices": sorted(set(cells["device"].dropna())),
        "seeds": seeds,
        "names": names,
        "counts": _counts(cells),
        "num_cells": int(cells["order"].nunique()),
        "bound": None if bound is None else f"{'net ' if bound_on == 'net' else ''}ASR ≤ {100 * bound:g} %",
        "net": bound_on == "net",
        "headline": headline.headline(gaps[0], cells, names) if gaps else None,
        "other_gaps": [(names.repair[gap.repair], headline.headline(gap, cells, names)) for gap in gaps[1:]],
        "cards": views.objective_cards(cells, names, bound=bound, rate=rate, searched=searched),
        "measures": MEASURES,
        "grid": grid_rows(cells, names),
        "filters": _filters(cells, names),
        "several_seeds": len(seeds) > 1,
        "readouts": readout_table(results, names),
        "searches": search_rows(results.trials, names),
        "control_texts": _control_texts(names),
        "controls": views.control_rows(cells, names),
        "protocol": [(plain(part), views.facts(value)) for part, value in suite.get("protocol", {}).items()],
        "versions": views.facts(suite.get("environment", {})),
        "script": Markup(script),  # ours, from the templates' folder
        "script_hash": base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    }


def _counts(cells: Frame) -> list[tuple[str, int]]:
    """Rows per status, `ok` first."""
    counts = cells["status"].value_counts()
    ordered = sorted(counts.items(), key=lambda item: (item[0] != "ok", -item[1], str(item[0])))
    return [(str(status).replace("_", " "), int(count)) for status, count in ordered]


def _filters(cells: Frame, names: Names) -> list[tuple[str, str, list[tuple[str, str]]]]:
    """(key, title, options) of every filter; an axis with one value needs none."""
    axes: list[tuple[str, str, str, Mapping[str, str]]] = [
        ("objective", "Objective", "objective", names.objective),
        ("attack", "Attack", "attack", names.attack),
        ("repair", "Repair", "repair", names.repair),
        ("rule", "Rule", "selection", RULES),
        ("status", "Status", "status", {}),
    ]
    found = []
    for key, title, column, titles in axes:
        options = [(label, titles.get(label, plain(label).replace("_", " "))) for label in dict.fromkeys(cells[column])]
        if len(options) > 1:
            found.append((key, title, options))
    return found


def _control_texts(names: Names) -> list[tuple[str, str]]:
    present = {split(label)[0] for label in names.repair}
    return [text for name, text in views.CONTROL_TEXTS.items() if name in present]


def suites_in(store: Store) -> list[str]:
    """Names of the suites that a store can make a board of."""
    return [json_name.removeprefix("suites/").removesuffix(".json") for json_name in store.list_json("suites")]
