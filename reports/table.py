"""The table of methods: every row of the grid by columns, and what its JavaScript has to know of the methods.

The page folds, filters and sorts these rows itself; ranks come from `reports.ranking` and hold for the whole suite.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from reports.areas import Bound
from reports.budgets import budgets, budgets_of
from reports.cards import NO_CARD, Card, Cards, needs_text, threat_model
from reports.classes import MOST
from reports.columns import encode
from reports.compile import JUDGED, Frame, Results
from reports.further import MeasureTable
from reports.grid import GridRow, Names
from reports.labels import RULES
from reports.numbers import Number
from reports.ranking import NOTHING, Ranking
from reports.rebound import form_title, highest

# column of the page -> measure; each has its total beside it
SHARES: Mapping[str, str] = {
    "ca": "clean_accuracy",
    "asr": "attack_success_rate",
    "pa": "poisoned_accuracy",
    "floor": "floor",
    "repaired_floor": "repaired_floor",
    "net": "net_asr",
}
COUNTED = ("ca", "asr", "pa", "floor", "repaired_floor")
ALIKE = "ASR not told from undefended"
REBOUND = "rebound"  # a column where some row was fine-tuned further


class Parts(NamedTuple):
    """What the table is made from, beside the results."""

    names: Names
    rankings: Sequence[Ranking]
    rows: Sequence[GridRow]  # in the order of `results.cells`
    bound: Bound
    measured: Sequence[MeasureTable]


def table_data(results: Results, parts: Parts) -> dict[str, Any]:
    """All that the page's table knows, as JSON."""
    cells, names = results.cells, parts.names
    shown = {axis: set(cells[axis]) for axis in ("objective", "attack")}
    axes = {
        axis: [[label, title] for label, title in getattr(names, axis).items() if label in labels]
        for axis, labels in shown.items()
    }
    repairs = [label for label in names.repair if (cells["repair"] == label).any()]
    budget_rows = budgets(cells, results.trials, parts.bound)
    return {
        "suite": str(results.suite["suite"]),
        "length": len(cells),
        "keys": list(cells["cell"].drop_duplicates()),
        "orders": [int(order) for order in cells.drop_duplicates("cell")["order"]],
        "main": list(SHARES.values()),
        "classesRead": len(cells) <= MOST,
        "labels": {
            **axes,
            "repair": [[label, "no repair" if label == NOTHING else names.repair[label]] for label in repairs],
            "rule": [[rule, title] for rule, title in RULES.items() if (cells["selection"] == rule).any()],
            "dataset": [[label, label] for label in dict.fromkeys(cells["dataset"])],
        },
        "columns": {name: encode(values) for name, values in _columns(results, parts.rows).items()},
        "optional": {REBOUND: _rebound(results)} if len(results.rebounds.rows) else {},
        "methods": [_method(label, results.cards, names) for label in repairs],
        "groups": [_group(ranking) for ranking in parts.rankings],
        "budgets": budgets_of(results.trials),
        "searches": {
            "order": [one.order for one in budget_rows],
            "area": [encode(values) for values in zip(*(one.areas for one in budget_rows), strict=True)],
            "cut": [encode(values) for values in zip(*(one.cuts for one in budget_rows), strict=True)],
        },
        "further": [{"title": one.title, "columns": one.columns} for one in parts.measured],
    }


def _columns(results: Results, rows: Sequence[GridRow]) -> dict[str, Sequence[Any]]:
    """Column -> a value for each row of the grid."""
    cells = results.cells
    place = {key: number for number, key in enumerate(dict.fromkeys(cells["cell"]))}
    found: dict[str, Sequence[Any]] = {
        "cell": [place[key] for key in cells["cell"]],
        **{axis: list(cells[axis]) for axis in ("objective", "attack", "repair", "dataset", "seed")},
        "rule": list(cells["selection"]),
        "state": list(cells["status"]),
        "status": [row.status for row in rows],
        "tone": [row.tone for row in rows],
        "reason": [row.reason for row in rows],
        "marks": ["; ".join(filter(None, (row.marks, ALIKE if row.alike else ""))) for row in rows],
        "note": ["; ".join(filter(None, (row.rule_note, row.attack_note))) for row in rows],
        **{column: list(cells[measure]) for column, measure in SHARES.items()},
        **{f"{column}_total": _totals(cells, SHARES[column]) for column in COUNTED},
        "lost": list(cells["accuracy_lost"]),
        "cost": [round(value, 2) if value == value else None for value in _of_repairs(cells, "wall_s")],
        "trials": [row.trials.sort for row in rows],
        "pairs": [row.clean_pairs.sort for row in rows],
        "evidence": list(cells["evidence"]),
    }
    if (cells["under"] != "").any():
        found |= {f"judged_{column}": list(cells[JUDGED + SHARES[column]]) for column in ("ca", "asr", "pa", "net")}
    if len(results.rebounds.rows):
        found[REBOUND] = highest(results.rebounds, cells)
    return found


def _totals(cells: Frame, measure: str) -> list[float | None]:
    """Denominators, of those values that are shares of something."""
    counts, totals = cells[f"{measure}_count"], cells[f"{measure}_total"]
    return [total if count >= 0 and total > 0 else None for count, total in zip(counts, totals, strict=True)]


def _of_repairs(cells: Frame, column: str) -> list[float]:
    return list(cells[column].where(cells["repair"] != NOTHING))


def _rebound(results: Results) -> list[str]:
    """Title of the column, what it is in short, and in full."""
    assert results.rebounds.first is not None
    form = form_title(*results.rebounds.first)
    return ["Rebound", "highest ASR", f"highest ASR along a benign fine-tuning: {form[:1].lower()}{form[1:]}"]


def _method(label: str, cards: Cards, names: Names) -> dict[str, str]:
    card: Card = cards.repair.get(label, NO_CARD)
    return {
        "label": label,
        "title": "no repair" if label == NOTHING else names.repair[label],
        "holds": "" if label == NOTHING else threat_model(card),
        "needs": needs_text(card),
        "access": card.access,
        "summary": card.summary,
        "citation": card.citation,
        "control": card.control,
    }


def _group(ranking: Ranking) -> dict[str, Any]:
    """One table of ranks: its methods in order, and which attacked models they were asked to mend."""
    return {
        "title": ranking.title[:1].upper() + ranking.title[1:],
        "seeds": ranking.seeds,
        "lost": ranking.lost,
        "objectives": ranking.objectives,
        "attacks": ranking.attacks,
        "rows": [{"label": row.label, "rank": row.rank, "alike": row.alike, "band": row.band} for row in ranking.rows],
    }


def further_columns(rows: int, table: MeasureTable) -> list[dict[str, Any]]:
    """One table of further measures by columns over all rows of the grid: what sorts, and what is read."""
    found = []
    for place, title in enumerate(table.columns):
        numbers: list[Number | None] = [None] * rows
        for row in table.rows:
            numbers[row.row] = row.numbers[place]
        sort = encode([number and number.sort for number in numbers])
        found.append({"title": title, "sort": sort, "text": encode([_text(number) for number in numbers])})
    return found


def _text(number: Number | None) -> str | None:
    if number is None or number.sort is None:
        return None
    return f"{number.text} ({number.tooltip})" if number.tooltip else number.text
