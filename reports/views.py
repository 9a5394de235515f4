"""What the board says around its grid: cards per objective, controls, the protocol."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from reports.cards import NO_CARD, ORACLE, Card, Cards, needs_text, threat_model
from reports.compile import JUDGED, Frame, at, repaired_attacks
from reports.grid import BAND, Names
from reports.labels import NO_VALUE, known, off_words, percent, plain, settings, signed
from reports.matrix import seeds_there
from reports.numbers import Number

ACCURACY, RATE, NET = (JUDGED + name for name in ("clean_accuracy", "attack_success_rate", "net_asr"))


class Best(NamedTuple):
    """The best repair among those that ask the same of the defender."""

    repair: str
    numbers: str  # "CA / ASR", and net ASR where the bound is on that
    within: bool  # False: none is within the bound, and this one has the lowest ASR
    costly: bool = False  # it lost more accuracy than the utility band: not best, whatever its ASR


class AttackLine(NamedTuple):
    """One attack on an objective's card."""

    attack: str
    note: str
    status: str  # "" where it planted
    accuracy: str
    asr: str
    best: list[Best | None]  # at defaults, one per threat model of the card
    oracle: str  # CA / ASR of the headline's repair under the oracle rule


class ObjectiveCard(NamedTuple):
    """One pre-training objective at a glance."""

    title: str
    clean_accuracy: str  # of the clean twin
    models: list[str]  # what the defender holds, in words; declared oracles take no part
    lines: list[AttackLine]


class Rule(NamedTuple):
    """What counts as repaired, and the repair of the headline."""

    bound: float | None
    rate: str  # the column that the bound is on
    searched: str | None


def objective_cards(cells: Frame, names: Names, cards: Mapping[str, Card], *, rule: Rule) -> list[ObjectiveCard]:
    """Cards of the objectives whose attacked models are repaired, in the suite's order; `cards` are the repairs'."""
    found = []
    repaired = (cells["repair"] != "none") & (cells["attack"] != "none")
    for objective in dict.fromkeys(cells.loc[repaired, "objective"]):
        own = cells[cells["objective"] == objective]
        models: dict[str, list[str]] = {}
        for label in own["repair"].unique():
            if label != "none" and ORACLE not in cards.get(label, NO_CARD).needs:
                models.setdefault(threat_model(cards.get(label, NO_CARD)), []).append(label)
        attacks = [attack for attack in repaired_attacks(own) if attack != "none"]
        lines = [_attack_line(own[own["attack"] == attack], attack, names, models.values(), rule) for attack in attacks]
        twin = percent(at(own, objective, "none", "none", "undefended")["clean_accuracy"].mean())
        found.append(ObjectiveCard(names.objective[objective], twin, list(models), lines))
    return found


def _attack_line(cells: Frame, attack: str, names: Names, models: Iterable[Sequence[str]], rule: Rule) -> AttackLine:
    start = cells[cells["selection"] == "undefended"]
    off = [status for status in start["status"] if status != "ok"]
    best: list[Best | None] = [
        None if off else best_default(cells[cells["repair"].isin(labels)], names, bound=rule.bound, rate=rule.rate)
        for labels in models
    ]
    oracle = NO_VALUE
    if rule.searched and not off:
        rows = cells[(cells["repair"] == rule.searched) & (cells["selection"] == "oracle")]
        found = rows["clean_accuracy"].notna().any()
        oracle = _pair(rows, rule) if found else ", ".join(dict.fromkeys(rows["status"])).replace("_", " ") or NO_VALUE
    return AttackLine(
        names.attack[attack],
        next((f"in {plain(under)}" for under in start["under"] if under), ""),
        off[0].replace("_", " ") if off else "",
        percent(start[ACCURACY].mean()),
        percent(start[RATE].mean()),
        best,
        oracle,
    )


def _pair(rows: Frame, rule: Rule) -> str:
    """`69.8 / 4.9, net +2.8`, and whether the mean over seeds on test is above the bound that was met on validation."""
    said = _numbers(rows[list(dict.fromkeys([ACCURACY, RATE, rule.rate]))].mean(), rule.rate)
    above = rule.bound is not None and rows[rule.rate].mean() > rule.bound + 1e-9
    notes = ["above the bound on test"] if above else []
    notes += ["over 2 points of CA lost"] if rows["accuracy_lost"].mean() > BAND + 1e-9 else []
    return "; ".join([said, *notes, *filter(None, [seeds_there(rows)])])


def best_default(cells: Frame, names: Names, *, bound: float | None, rate: str) -> Best | None:
    """The repair that keeps most clean accuracy within the bound, all at default hyper-parameters.

    Only repairs that are finished for every seed take part. One that lost more than the utility band is never best:
    it is named, as costly, where no other is within the bound. Where none at all is, the lowest ASR is named instead,
    of those within the band if there are any. Numbers are means over seeds.
    """
    rows = cells[cells["selection"] == "default"]
    finished = rows.groupby("repair", sort=False).filter(lambda group: bool((group["status"] == "ok").all()))
    columns = list(dict.fromkeys([ACCURACY, RATE, rate, "accuracy_lost"]))
    means = finished.groupby("repair", sort=False)[columns].mean().dropna()
    if means.empty or bound is None:
        return None
    within, usable = means[rate] <= bound + 1e-9, means["accuracy_lost"] <= BAND + 1e-9
    if within.any():
        best = means[within & usable] if (within & usable).any() else means[within]
        chosen = best.loc[best[ACCURACY].idxmax()]
    else:
        left = means[usable] if usable.any() else means
        chosen = left.loc[left[rate].idxmin()]
    costly = bool(chosen["accuracy_lost"] > BAND + 1e-9)
    return Best(names.repair[str(chosen.name)], _numbers(chosen, rate), bool(within.any()), costly)


def _numbers(means: Frame, rate: str) -> str:
    net = f", net {signed(means[rate])}" if rate == NET else ""
    return f"{percent(means[ACCURACY])} / {percent(means[RATE])}{net}"


class ControlRow(NamedTuple):
    """What a control changes: points of CA and ASR against the undefended model, mean over seeds."""

    objective: str
    attack: str
    repair: str
    accuracy: Number
    asr: Number
    status: str


def control_rows(cells: Frame, names: Names, controls: Container[str]) -> list[ControlRow]:
    """Changes under the controls on attacked models, and of the clean twin under every repair at its defaults."""
    keys = ["objective", "attack", "seed"]
    columns = [ACCURACY, RATE]
    start = cells.loc[cells["selection"] == "undefended", [*keys, *columns, "status"]]
    start = start.rename(columns={name: f"{name}_0" for name in (*columns, "status")})
    rows = cells[cells["selection"] == "default"]
    control = rows["repair"].map(lambda label: label in controls).astype(bool)
    rows = rows[(rows["attack"] == "none") | control].merge(start, on=keys, how="left")
    found = []
    for (objective, attack, repair), group in rows.groupby(["objective", "attack", "repair"], sort=False):
        accuracy, asr = (_points((group[column] - group[f"{column}_0"]).mean()) for column in columns)
        words = off_words([*group["status_0"], *group["status"]])
        status = ", ".join(filter(None, [words, seeds_there(group)]))
        labels = names.objective[objective], names.attack[attack], names.repair[repair]
        found.append(ControlRow(*labels, accuracy, asr, status))
    return found


def _points(change: float) -> Number:
    return Number(signed(change), float(change) if known(change) else None)


class MethodRow(NamedTuple):
    """A method and what it asks for."""

    kind: str
    title: str
    citation: str
    access: str
    needs: str
    settings: str  # fields that differ from the method's own defaults, and what these are
    differs: str  # published values that it was not run with
    summary: str


def method_rows(names: Names, cards: Cards) -> list[MethodRow]:
    """Every method of the suite that has a card."""
    return [
        MethodRow(
            kind,
            titles[label],
            card.citation,
            card.access,
            needs_text(card),
            settings(label, card.defaults),
            "; ".join(card.differs),
            card.summary,
        )
        for kind, titles, found in zip(Names._fields, names, cards, strict=True)
        for label, card in found.items()
        if label in titles
    ]


def facts(value: Any) -> list[tuple[str, str]]:
    """Flattens a JSON value into (dotted name, text) lines."""
    if isinstance(value, Mapping):
        return [(f"{plain(key)}.{name}".rstrip("."), text) for key, part in value.items() for name, text in facts(part)]
    if isinstance(value, (list, tuple)):
        return [("", _range(value) or ", ".join(text for part in value for _, text in facts(part)))]
    return [("", _text(value))]


def _range(value: Sequence[Any]) -> str:
    """A search range as people read it, "" for any other list."""
    if len(value) != 3 or not isinstance(value[2], bool):
        return ""
    low, high, log = value
    return f"{_text(low)} to {_text(high)}{', log scale' if log else ''}"


def machine(environment: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What a run stood on, without what the page says elsewhere or what was not set."""
    own = {key: value for key, value in environment.items() if key not in ("device", "versions") and value is not None}
    return facts(own | dict(environment.get("versions") or {}))


def _text(value: Any) -> str:
    if value is None:
        return NO_VALUE
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else plain(value)
