"""Methods over several boards: one table, a column for each board, ranks of one board and one kind of defender alone.

A rank compares what was run on the same models with the same clean pairs. So nothing here is averaged over boards: each
cell repeats what its board says, and who holds something else stands in a group of its own.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from reports.ranking import Ranking

_PAIRS = re.compile(r"\b\d+ clean pairs")


class Place(NamedTuple):
    """A method on one board."""

    rank: str  # "" where one seed ranks nothing
    net: str
    lost: str
    coverage: str
    band: str  # "" within two points of CA


class Row(NamedTuple):
    """A method; None where a board does not have it."""

    title: str
    places: list[Place | None]


class Group(NamedTuple):
    """Methods that hold the same."""

    title: str
    rows: list[Row]


class Column(NamedTuple):
    """A board."""

    folder: str
    title: str
    data: str
    model: str
    held: str  # how many clean pairs; "" where a board says none


class Span(NamedTuple):
    """The table."""

    columns: list[Column]
    groups: list[Group]
    data: list[str]  # to filter by
    models: list[str]


def placed(rankings: Sequence[Ranking]) -> list[dict[str, Any]]:
    """What a board says of its methods, as JSON: one for each row of its rank tables."""
    return [
        {
            "group": _PAIRS.sub("clean pairs", ranking.title),
            "held": (_PAIRS.findall(ranking.title) or [""])[0],
            "title": row.title,
            "rank": row.rank,
            "net": row.net,
            "lost": row.lost,
            "coverage": row.coverage,
            "band": row.band,
        }
        for ranking in rankings
        for row in ranking.rows
    ]


def span(boards: Sequence[Mapping[str, Any]]) -> Span | None:
    """The table over boards; None where fewer than two have methods that are ranked.

    Args:
        boards: `folder`, `title`, `datasets`, `models` and `methods` (see `placed`) of each.
    """
    boards = [board for board in boards if board["methods"]]
    if len(boards) < 2:
        return None
    groups: dict[str, dict[str, list[Place | None]]] = {}
    for number, board in enumerate(boards):
        for method in board["methods"]:
            rows = groups.setdefault(method["group"], {})
            places = rows.setdefault(method["title"], [None] * len(boards))
            places[number] = Place(*(method[field] for field in Place._fields))
    columns = [
        Column(
            board["folder"],
            board["title"],
            board["datasets"],
            board["models"],
            ", ".join(dict.fromkeys(method["held"] for method in board["methods"] if method["held"])),
        )
        for board in boards
    ]
    return Span(
        columns,
        [Group(title, _ordered(rows)) for title, rows in groups.items()],
        list(dict.fromkeys(column.data for column in columns)),
        list(dict.fromkeys(column.model for column in columns)),
    )


def _ordered(rows: Mapping[str, list[Place | None]]) -> list[Row]:
    """Those on most boards first; of equally many in the order of the boards."""
    found = [Row(title, places) for title, places in rows.items()]
    return sorted(found, key=lambda row: sum(place is None for place in row.places))
