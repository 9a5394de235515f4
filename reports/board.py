"""Writes the board: one static page that opens from a file, its figures, its tables, and the records as CSV."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.figure import Figure

from benchmark.store.artifacts import Store
from reports import answer, headline, importance, markdown, site, style, views
from reports.areas import Bound
from reports.cells import FOLDER as CELLS
from reports.cells import write_cells
from reports.columns import script_json
from reports.compile import JUDGED, Frame, Results, collapse_of, compile_suite
from reports.curves import cost_curve
from reports.deployed import Form, forms
from reports.detection import Detectors, detector_scales, detectors
from reports.drawn import STAMPS, drawn
from reports.evidence import NOTE
from reports.figures import SCATTERED, SCATTERED_TRIALS, gap_chart, scatter, scene
from reports.floors import floor_rows
from reports.further import MeasureTable, measure_tables
from reports.grid import Names, grid_rows, names_of, search_rows
from reports.heatmaps import detector_map, repair_map
from reports.labels import known, plain
from reports.matrix import Matrix, objective_matrix, repair_matrices
from reports.mcnemar import Alike, alike
from reports.numbers import BLANK
from reports.ranking import Ranking, rankings
from reports.rebound import REVIVED, ReboundPart, rebound_part
from reports.rebound_curves import CURVED, rebound_curves
from reports.standing import Reason, reasons
from reports.statistics import RepairGap
from reports.table import Parts, further_columns, table_data

TEMPLATES = Path(__file__).parent / "templates"
SCRIPTS = ("stats", "data", "items", "state", "load", "table", "cell", "compare", "start")  # one script, in this order
CROWD = 20_000  # points from which the scatter has no form for one column, where they would be one blot
FURTHER = "columns"  # folder of the columns that the table loads when they are asked for
NESTED = ("sources", "trial_statuses", "floors")  # columns of records that are lists
_FIGURES = re.compile(
    r"scatter(-column)?|repair-gap|repair-cost|detectors|repairs-[0-9]+|rebound-[0-9]+"
)  # the names of all that is drawn
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


def write_board(store: Store, suite_name: str, out: Path, *, indexed: bool = False) -> Path:
    """Compiles a suite and writes `index.html` with what it loads, `figures/`, the CSV files and `tables.md`.

    Args:
        store: where the suite's document and records are.
        suite_name: name of a suite that was run or planned into this store.
        out: folder of the board; made if it is not there.
        indexed: whether an index of boards stands in the folder above, which the page then links to.

    Returns:
        The path of `index.html`, which is written last.

    Raises:
        UserError: the store holds no such suite, or a record cannot be read.
    """
    results = compile_suite(store, suite_name)
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    found = _found(store, results)
    figures = _write_figures(results, found, out / "figures")
    _write_tables(results, out)
    write_cells(store, results, found.names, out / CELLS)
    _write_further(results, found, out / FURTHER)
    (out / "tables.md").write_text(_markdown(results, found), encoding="utf-8")
    context = _context(results, found) | figures._asdict() | {"indexed": indexed}
    page = _environment().get_template("board.html.j2").render(**context)
    site.write_summary(results, found.answers, found.rankings, out)
    temporary = out / ".index.html.part"
    temporary.write_text(page, encoding="utf-8")
    os.replace(temporary, out / "index.html")
    return out / "index.html"


class Found(NamedTuple):
    """What the page, the figures and the Markdown tables share."""

    names: Names
    answers: list[answer.Answer]  # of the searched repairs, the headline first
    rankings: list[Ranking]
    gaps: list[RepairGap]
    headlines: list[headline.Headline]  # the gaps of the published cut in words, in the same order
    objectives: Matrix | None
    matrices: list[Matrix]
    detectors: Detectors
    forms: list[Form]
    rebound: ReboundPart | None
    measured: list[MeasureTable]
    reasons: list[Reason]
    methods: list[views.MethodRow]
    alike: Alike  # rows whose ASR cannot be told from the undefended model's


def _found(store: Store, results: Results) -> Found:
    cells, detections, cards = results.cells, results.detections, results.cards
    names = names_of(cells, detections, cards)
    bound, bound_on = _search(results.suite)
    gaps = headline.repair_gaps(cells, list(dict.fromkeys(cells["objective"])))
    return Found(
        names,
        answer.answers(store, results, names, Bound(bound, bound_on == "net")),
        rankings(cells, names, cards),
        gaps,
        [headline.headline(gap, cells, names) for gap in gaps],
        objective_matrix(cells, names, cards),
        repair_matrices(cells, names, cards),
        detectors(detections, cells, names, cards, detector_scales(results.measures)),
        forms(cells, names, results.transforms),
        rebound_part(results.rebounds, names, results.suite),
        measure_tables(results, names),
        reasons(cells, detections, names),
        views.method_rows(names, cards),
        alike(store, cells),
    )


def _markdown(results: Results, found: Found) -> str:
    return markdown.document(
        plain(results.suite.get("title") or results.suite["suite"]),
        answers=found.answers,
        rankings=found.rankings,
        headline=found.headlines[0] if found.headlines else None,
        matrices=[matrix for matrix in (found.objectives, *found.matrices) if matrix],
        found=found.detectors,
        floors=floor_rows(results.cells, found.names),
        forms=found.forms,
        rebound=found.rebound,
        measured=found.measured,
        reasons=found.reasons,
        skipped=[plain(line) for line in results.skipped],
        methods=found.methods,
    )


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


class Drawn(NamedTuple):
    """The figures that the page shows, as SVG elements, and the files that it links to."""

    figures: dict[str, Markup]
    maps: list[tuple[str, str]]  # heat maps of repairs, which the page has as tables: objective, file
    hidden: int  # points that the scatter leaves out


def _write_figures(results: Results, found: Found, folder: Path) -> Drawn:
    """Saves every figure, and removes those of an earlier board that this one does not draw."""
    bound, bound_on = _search(results.suite)
    saved: set[Path] = set()
    inline: dict[str, Markup] = {}
    maps = []

    def add(name: str, inputs: Any, draw: Callable[[], Figure], about: str = "") -> Markup:
        paths, element = drawn(folder / name, inputs, draw, about=about)
        saved.update(paths)
        return element

    shown = scene(results.cells, results.trials, found.names, bound_on=bound_on, bound=bound)
    if len(shown.cells) or len(shown.trials):
        objectives = _panels(results.cells)
        about = "Clean accuracy against attack success rate, one panel per pre-training objective; numbers in the table"
        points = [shown.cells[list(SCATTERED)], shown.trials[list(SCATTERED_TRIALS)], shown[2:], objectives]
        inline["scatter"] = add("scatter", points, lambda: scatter(shown, objectives), about)
        if len(shown.cells) + len(shown.trials) <= CROWD:
            width = style.COLUMN_WIDTH
            narrow = add("scatter-column", [points, width], lambda: scatter(shown, objectives, width=width), about)
            inline["scatter_narrow"] = narrow
    if found.answers and found.answers[0].gap.used:
        about = "Clean accuracy kept against the ASR that may be left, a line per objective; means in the table"
        first = found.answers[0]
        curve = [
            first.objectives,
            first.gap,
            {where: cell.kept() for where, cell in first.searched.items() if not cell.reason},
        ]
        inline["cost"] = add("repair-cost", curve, lambda: cost_curve(first), about)
    if found.gaps and found.gaps[0].used:
        about = "Relative change of clean accuracy per attack under both objectives; numbers in the table"
        gap = found.gaps[0]
        inline["gap"] = add("repair-gap", [gap, found.names], lambda: gap_chart(gap, found.names), about)
    for place, matrix in enumerate(found.matrices):
        if any(known(entry.asr) for row in matrix.rows if row.label != "none" for entry in row.entries):
            add(name := f"repairs-{place}", matrix, lambda matrix=matrix: repair_map(matrix))
            maps.append((matrix.title, name))
    scored = [*found.detectors.filters, *found.detectors.inputs]
    if any(line.numbers.get("auroc", BLANK).sort is not None for group in scored for line in group.lines):
        about = "AUROC of detectors against attacks; numbers in the tables"
        scale = detector_scales(results.measures)["auroc"]
        inline["detectors"] = add("detectors", [scored, scale], lambda: detector_map(scored, scale), about)
    for place, (_, rows) in enumerate(results.rebounds.rows.groupby(["scope", "learning_rate"], sort=False)):
        name, about = f"rebound-{place}", "Attack success rate along benign fine-tuning; its course in the table"
        curves = [rows[list(CURVED)], found.names]
        inline[name] = add(name, curves, lambda rows=rows: rebound_curves(rows, found.names), about)
    _remove_stale(folder, saved)
    return Drawn(inline, maps, shown.hidden)


def _remove_stale(folder: Path, saved: set[Path]) -> None:
    """A figure that stayed would show another suite's numbers, or none that are true; other files are left alone."""
    for kind in style.FORMATS:
        for path in set(folder.glob(f"*.{kind}")) - saved:
            if _FIGURES.fullmatch(path.stem):
                path.unlink()
    for stamp in folder.glob(f"{STAMPS}/*.json"):
        if stamp.stem not in {path.stem for path in saved}:
            stamp.unlink()


def _panels(cells: Frame) -> list[str]:
    """Objectives whose models are repaired; all of them where none is."""
    return list(dict.fromkeys(cells.loc[cells["repair"] != "none", "objective"])) or list(
        dict.fromkeys(cells["objective"])
    )


def _write_tables(results: Results, out: Path) -> None:
    rows: Frame = pd.concat([results.cells, results.detections], ignore_index=True).sort_values("row", kind="stable")
    inner = ["order", "rule_order", "row", "under", *(name for name in rows.columns if name.startswith(JUDGED))]
    rows = rows.assign(**{name: rows[name].map(_as_json) for name in NESTED})
    _quote(rows.drop(columns=inner)).to_csv(out / "records.csv", index=False)
    axes = rows[["row", "cell", "objective", "attack", "repair", "detector", "seed", "selection", "status"]]
    _quote(results.measures.merge(axes, on="row").drop(columns="row")).to_csv(out / "measures.csv", index=False)
    (out / "rebound.csv").unlink(missing_ok=True)  # of an earlier board
    if len(results.rebounds.rows):
        _quote(results.rebounds.rows).to_csv(out / "rebound.csv", index=False)


def _write_further(results: Results, found: Found, folder: Path) -> None:
    """A file for each table of further measures, and none of an earlier board that had more of them."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, table in enumerate(found.measured):
        columns = script_json(further_columns(len(results.cells), table))
        (folder / f"{number}.js").write_text(f"backstop.columns({number}, {columns});\n", encoding="utf-8")
    for path in folder.glob("*.js"):
        if not path.stem.isdigit() or int(path.stem) >= len(found.measured):
            path.unlink()


def _script() -> str:
    parts = [(TEMPLATES / "js" / f"{name}.js").read_text(encoding="utf-8") for name in SCRIPTS]
    return "\n".join(['(() => {\n"use strict";\ndocument.documentElement.classList.add("js");', *parts, "})();"])


def _as_json(value: Any) -> str | None:
    """A list of structs as JSON, the form that the other nested columns have."""
    return json.dumps(list(value)) if isinstance(value, (list, np.ndarray)) else None


def _quote(frame: Frame) -> Frame:
    """Texts that a spreadsheet would take for a formula get a quote in front."""

    def guard(value: Any) -> Any:
        return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA_STARTS) else value

    texts = {name: frame[name].map(guard) for name in frame.columns if not pd.api.types.is_numeric_dtype(frame[name])}
    return frame.assign(**texts)


def _context(results: Results, found: Found) -> dict[str, Any]:
    suite, cells, names, gaps = results.suite, results.cells, found.names, found.gaps
    every: Frame = pd.concat([cells, results.detections], ignore_index=True)
    bound, bound_on = _search(suite)
    script = _script()
    searched = gaps[0].repair if gaps else None
    rate = f"{JUDGED}{'net_asr' if bound_on == 'net' else 'attack_success_rate'}"
    seeds = sorted(set(every["seed"]))
    controls = _controls(results)
    return {
        "suite": plain(suite["suite"]),
        "title": plain(suite.get("title") or suite["suite"]),
        "key": plain(suite.get("key", "")),
        "command": plain(suite.get("command") or f"backstop run {suite['suite']}"),
        "datasets": sorted(set(cells["dataset"])),
        "models": sorted(set(cells["model"])),
        "devices": sorted(set(every["device"].dropna())),
        "seeds": seeds,
        "names": names,
        "counts": _counts(every),
        "num_cells": int(every["order"].nunique()),
        "num_rows": len(every),
        "bound": None if bound is None else f"{'net ' if bound_on == 'net' else ''}ASR ≤ {100 * bound:g} %",
        "net": bound_on == "net",
        "collapse": f"{100 * share:g} %" if (share := collapse_of(suite)) else "",
        "answers": found.answers,
        "cuts": [f"{100 * rate:g}" for rate in answer.CUTS],
        "rankings": found.rankings,
        "evidence": NOTE,
        "headline": found.headlines[0] if found.headlines else None,
        "other_gaps": found.headlines[1:],
        "cards": views.objective_cards(cells, names, results.cards.repair, rule=views.Rule(bound, rate, searched)),
        "objectives": found.objectives,
        "matrices": found.matrices,
        "detectors": found.detectors,
        "forms": found.forms,
        "rebound": found.rebound,
        "revived": f"{100 * REVIVED:g}",
        "measured": found.measured,
        "reasons": found.reasons,
        "skipped": [plain(line) for line in results.skipped],
        "methods": found.methods,
        "names_waiting": [names.attack[label] for label in cells.loc[cells["under"] != "", "attack"].unique()],
        "table": Markup(script_json(_table(results, found))),  # no < and no & in it
        "tested": found.alike.tested,
        "several_seeds": len(seeds) > 1,
        "searches": search_rows(results.trials, names),
        "fewest": importance.FEWEST,
        "most": importance.MOST,
        "control_texts": [(names.repair[label], text) for label, text in controls.items()],
        "controls": views.control_rows(cells, names, controls),
        "protocol": [(plain(part), views.facts(value)) for part, value in suite.get("protocol", {}).items()],
        "versions": views.machine(suite.get("environment", {})),
        "script": Markup(script),  # ours, from the templates' folder
        "script_hash": base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    }


def _controls(results: Results) -> dict[str, str]:
    """What each control of the suite shows, by its label."""
    present = set(results.cells["repair"])
    return {label: card.control for label, card in results.cards.repair.items() if card.control and label in present}


def _counts(cells: Frame) -> list[tuple[str, int]]:
    """Rows per status, `ok` first."""
    counts = cells["status"].value_counts()
    ordered = sorted(counts.items(), key=lambda item: (item[0] != "ok", -item[1], str(item[0])))
    return [(str(status).replace("_", " "), int(count)) for status, count in ordered]


def _table(results: Results, found: Found) -> dict[str, Any]:
    bound, bound_on = _search(results.suite)
    rate = f"{JUDGED}{'net_asr' if bound_on == 'net' else 'attack_success_rate'}"
    rows = grid_rows(results.cells, found.names, bound=bound, rate=rate, alike=found.alike.rows)
    parts = Parts(found.names, found.rankings, rows, Bound(bound, bound_on == "net"), found.measured)
    return table_data(results, parts)
