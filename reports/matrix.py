"""The overview: defenses against attacks, one table per objective, grouped by what the defender holds."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from reports.cards import NO_CARD, Card, Cards, needs_text, threat_model
from reports.compile import JUDGED, Frame, lost_to_twin, repaired_attacks
from reports.grid import BAND, Names
from reports.labels import NO_VALUE, known, percent, signed

STATUS_WORDS: Mapping[str, str] = {
    "attack_did_not_plant": "did not plant",
    "not_applicable": "n/a",
    "repair_failed": "failed",
    "out_of_memory": "out of memory",
}


class Entry(NamedTuple):
    """One defense against one attack, means over seeds."""

    accuracy: float  # NaN where there is none
    asr: float  # NaN without an attack
    loss: float  # clean accuracy lost against the undefended model of the same attack
    off: str  # in a word, why it is not there or does not count; "" where all is well
    tooltip: str
    poisoned: float = math.nan  # true label under the trigger: no backdoor and no answer are told apart by it
    net: float = math.nan  # ASR minus floor
    seeds: str = ""  # "1 of 3 seeds" where some are missing

    @property
    def costly(self) -> bool:
        """Whether it lost more accuracy than a repair may that is called one."""
        return self.loss > BAND + 1e-9

    @property
    def small(self) -> str:
        """`PA 52.1, net +9.7`: what a low ASR is worth, and over how many seeds."""
        parts = [f"PA {percent(self.poisoned)}"] if known(self.poisoned) else []
        parts += [f"net {signed(self.net)}"] if known(self.net) else []
        return ", ".join([*parts, *filter(None, [self.seeds])])

    @property
    def text(self) -> str:
        """`70.5 / 11.8`, the accuracy alone without an attack, or why there is nothing."""
        if not known(self.accuracy):
            return NO_VALUE if self.off == STATUS_WORDS["attack_did_not_plant"] else self.off or NO_VALUE
        return f"{percent(self.accuracy)} / {percent(self.asr)}" if known(self.asr) else percent(self.accuracy)


class Row(NamedTuple):
    """One defense."""

    title: str
    label: str
    needs: str
    summary: str
    entries: list[Entry]


class Matrix(NamedTuple):
    """What is defended against what: groups are (threat model, rows)."""

    title: str
    attacks: list[tuple[str, str]]  # title, and a note
    groups: list[tuple[str, list[Row]]]

    @property
    def rows(self) -> list[Row]:
        """All rows, group after group."""
        return [row for _, rows in self.groups for row in rows]


def repair_matrices(cells: Frame, names: Names, cards: Cards) -> list[Matrix]:
    """Repairs at their defaults against attacks, one matrix per objective whose models are repaired."""
    found = []
    for objective in dict.fromkeys(cells["objective"]):
        own = cells[(cells["objective"] == objective) & cells["selection"].isin(["undefended", "default"])]
        repairs = [repair for repair in dict.fromkeys(own["repair"]) if repair != "none"]
        if not repairs:
            continue
        attacks = repaired_attacks(own)
        undefended = _row(own, "none", "no repair", attacks, NO_CARD)
        rows = [(cards.repair.get(repair, NO_CARD), repair) for repair in repairs]
        groups = [("", [undefended])]
        for model in sorted({threat_model(card) for card, _ in rows}, key=_place(rows)):
            mine = [(card, repair) for card, repair in rows if threat_model(card) == model]
            groups.append((model, [_row(own, repair, names.repair[repair], attacks, card) for card, repair in mine]))
        found.append(Matrix(names.objective[objective], _heads(attacks, names, cards), groups))
    return found


def objective_matrix(cells: Frame, names: Names, cards: Cards) -> Matrix | None:
    """Undefended models of every objective against attacks; None where there is one objective."""
    own = cells[cells["selection"] == "undefended"]
    objectives = list(dict.fromkeys(own["objective"]))
    if len(objectives) < 2:
        return None
    attacks = list(dict.fromkeys(own["attack"]))
    rows = []
    for objective in objectives:
        mine = own[own["objective"] == objective]
        mine = mine.assign(accuracy_lost=lost_to_twin(mine))
        entries = [_entry(mine[mine["attack"] == attack]) for attack in attacks]
        card = cards.objective.get(objective, NO_CARD)
        rows.append(Row(names.objective[objective], objective, needs_text(card), card.summary, entries))
    return Matrix("Pre-training", _heads(attacks, names, cards), [("", rows)])


def _place(rows: Sequence[tuple[Card, str]]) -> Callable[[str], tuple[bool, int]]:
    """Threat models in the order of their first method, declared oracles last."""
    order = list(dict.fromkeys(threat_model(card) for card, _ in rows))
    return lambda model: (model.startswith("declared oracle"), order.index(model))


def _heads(attacks: Sequence[str], names: Names, cards: Cards) -> list[tuple[str, str]]:
    heads = []
    for attack in attacks:
        under = cards.attack.get(attack, NO_CARD).transform
        named = names.attack[attack], under and f"in {under}"
        heads.append(("no attack", "clean twin") if attack == "none" else named)
    return heads


def _row(cells: Frame, repair: str, title: str, attacks: Sequence[str], card: Card) -> Row:
    own = cells[cells["repair"] == repair]
    found = dict(iter(own.groupby("attack", sort=False)))
    entries = [_entry(found.get(attack, own.iloc[:0])) for attack in attacks]
    return Row(title, repair, needs_text(card), card.summary, entries)


def _entry(rows: Frame) -> Entry:
    """Means over the seeds that are there; what is lost is subtracted seed by seed before."""
    names = ("clean_accuracy", "attack_success_rate", "poisoned_accuracy", "net_asr")
    accuracy, asr, poisoned, net = (rows[f"{JUDGED}{name}"].mean() for name in names)
    off = list(dict.fromkeys(status for status in rows["status"] if status != "ok"))
    words = ", ".join(STATUS_WORDS.get(status, status.replace("_", " ")) for status in off)
    loss = rows["accuracy_lost"].mean()
    tooltip = [f"CA {percent(accuracy)}, {signed(-loss)} against undefended"] if known(accuracy) else []
    tooltip += list(dict.fromkeys(str(reason) for reason in rows["reason"] if reason))
    if not len(rows):
        words, tooltip = NO_VALUE, ["not in the suite"]
    return Entry(accuracy, asr, loss, words, "; ".join(tooltip), poisoned, net, seeds_there(rows))


def seeds_there(rows: Frame) -> str:
    """`1 of 3 seeds` where a mean leaves some out, else ""."""
    there = int(rows[f"{JUDGED}clean_accuracy"].notna().sum())
    return f"{there} of {len(rows)} seeds" if 0 < there < len(rows) else ""
