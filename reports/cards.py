"""Cards of methods: what each asks for and where it comes from, as the suite's document states it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from reports.labels import plain, split

NEEDS: Mapping[str, str] = {
    "clean_pairs": "clean pairs",
    "labels": "labels",
    "class_names": "class names",
    "suspect_pairs": "the suspect training pairs",
    "training_pairs": "clean training pairs",
    "reference": "a copy of the model",
    "optimizer_state": "optimiser state of pre-training",
    "segmenter": "a segmenter",
    "surrogate": "a clean model of its own",
    "auxiliary_model": "a clean model from outside",
    "trigger": "the true trigger",
}
# What the defender holds decides whom a method is compared with; the rest of its needs stands beside it.
HELD = ("clean_pairs", "labels", "suspect_pairs", "training_pairs", "segmenter", "auxiliary_model", "trigger")
ORACLE = "trigger"


class Card(NamedTuple):
    """One method's card. Everything is "" or empty where the document does not say."""

    title: str = ""
    citation: str = ""
    access: str = ""
    needs: tuple[str, ...] = ()
    external: tuple[str, ...] = ()
    summary: str = ""
    control: str = ""  # what a control shows; "" where the method is none
    unit: str = ""  # of detectors: pair, input, model
    transform: str = ""  # of attacks: the form of the model in which they show
    differs: tuple[str, ...] = ()  # published values that it was not run with, and where they stand
    defaults: Mapping[str, str] = {}  # of the fields that the suite sets otherwise


NO_CARD = Card()


class Cards(NamedTuple):
    """Cards by label, kind by kind."""

    objective: Mapping[str, Card] = {}
    attack: Mapping[str, Card] = {}
    repair: Mapping[str, Card] = {}
    detector: Mapping[str, Card] = {}


NO_CARDS = Cards()


def cards_of(suite: Mapping[str, Any]) -> Cards:
    """The cards in a suite's document; none of an older document that has no `methods`."""
    methods = suite.get("methods") or {}
    kinds = (methods.get(kind) or {} for kind in Cards._fields)
    return Cards(*({label: _card(entry) for label, entry in found.items()} for found in kinds))


def _card(entry: Mapping[str, Any]) -> Card:
    def words(value: Iterable[Any] | None) -> tuple[str, ...]:
        return tuple(plain(part) for part in value or ())

    names = ("title", "citation", "access", "summary", "control", "unit", "transform")
    texts = {name: plain(entry.get(name) or "") for name in names}
    order = list(NEEDS)
    needs = sorted(words(entry.get("needs")), key=lambda need: order.index(need) if need in NEEDS else len(order))
    published = [f"{item['field']} {item['value']} ({item['source']})" for item in entry.get("differs") or ()]
    defaults = {plain(field): plain(value) for field, value in (entry.get("defaults") or {}).items()}
    return Card(
        **texts, needs=tuple(needs), external=words(entry.get("external")), differs=words(published), defaults=defaults
    )


def titles_by_name(cards: Mapping[str, Card]) -> dict[str, str]:
    """The cards' titles by the methods' bare names, which have one title whatever their fields are."""
    return {split(label)[0]: card.title for label, card in cards.items() if card.title}


def needs_text(card: Card) -> str:
    """What a method asks for, in words; "" where nothing is known or asked for."""
    return ", ".join([*(NEEDS.get(need, need.replace("_", " ")) for need in card.needs), *card.external])


def threat_model(card: Card) -> str:
    """What the defender holds, in words: only methods that share it are compared with each other."""
    held = [need for need in HELD if need in card.needs]
    if ORACLE in held:
        return "declared oracle: knows the true trigger"
    if card == NO_CARD:
        return ""
    named = [NEEDS[need] for need in held]
    listed = " and ".join([", ".join(named[:-1]), named[-1]] if len(named) > 1 else named)
    return f"with {listed}" if listed else "with nothing but the model"
