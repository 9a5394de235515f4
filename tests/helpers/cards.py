"""Cards of the registered methods behind made-up labels, as a suite's document lists them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from benchmark.config import registry
from reports.cards import Cards, cards_of
from reports.labels import split

KINDS = ("objective", "attack", "repair", "detector")


def card(kind: str, label: str) -> dict[str, Any]:
    """Title and control text of the method that a label names; {} where no method has that name."""
    name = split(label)[0]
    if name not in registry.names(kind):
        return {}
    found = registry.method(kind, name).card
    return {"name": name, "title": found.title, "control": found.control}


def methods(cells: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """The cards behind every label of a suite's cells, kind by kind."""
    cells = list(cells)
    labels = {kind: {cell.get(kind, "none") for cell in cells} - {"none"} for kind in KINDS}
    return {kind: {label: card(kind, label) for label in sorted(found)} for kind, found in labels.items()}


def cards(labels: Iterable[str]) -> Cards:
    """Cards of labels of any kind."""
    labels = list(labels)
    return cards_of({"methods": {kind: {label: card(kind, label) for label in labels} for kind in KINDS}})
