"""What detectors found: filters on training pairs, detectors of triggered images, detectors of attacked models."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from reports.cards import NO_CARD, Cards, needs_text
from reports.compile import BASE_RATES, BUDGETS, JUDGED, Frame
from reports.deployed import mean
from reports.grid import TONES, Names, Number, decimal
from reports.labels import NO_VALUE, known, outside_note, percent, plain, signed
from reports.statistics import auroc

SHARES = tuple(f"auprc_at_{rate}" for rate in BASE_RATES)
LEFT = tuple(f"poisons_left_at_{budget}" for budget in BUDGETS)
FILTER_NUMBERS = ("auroc", *SHARES, *LEFT, "retrained_accuracy", "retrained_asr")
INPUT_NUMBERS = ("auroc", "tpr_at_1pct_fpr", "realised_fpr_at_1pct", "false_alarms", "fpr_at_95pct_tpr", *SHARES)
BLANK = Number(NO_VALUE, None)


class Line(NamedTuple):
    """One detector on one attack, means over seeds."""

    detector: str
    label: str
    needs: str
    numbers: Mapping[str, Number]
    note: str  # such as what retraining left out
    status: str  # "" where all is well
    tone: str
    reason: str


class Group(NamedTuple):
    """The detectors that looked at one attack under one objective."""

    objective: str
    attack: str
    about: str  # how many samples, and the undefended model
    lines: list[Line]

    @property
    def off(self) -> Line | None:
        """A line that speaks for all of them: none has numbers, for the same reason."""
        same = {(line.status, line.reason) for line in self.lines}
        return self.lines[0] if len(same) == 1 and self.lines[0].status else None


class Verdict(NamedTuple):
    """A model detector on one model."""

    objective: str
    attack: str
    seed: str
    clean: bool  # a clean twin
    score: Number
    flagged: str  # "suspicious", "clean" or a dash
    right: bool | None  # whether that is so
    target: str
    status: str
    tone: str
    reason: str


class Judge(NamedTuple):
    """A model detector over all models of the board."""

    detector: str
    needs: str
    auroc: Number
    counts: str
    verdicts: list[Verdict]


class Detectors(NamedTuple):
    """The three sections."""

    filters: list[Group]
    inputs: list[Group]
    models: list[Judge]


def detectors(detections: Frame, cells: Frame, names: Names, cards: Cards) -> Detectors:
    """Sorts the detectors by what they score, and every row into its section."""
    units = {label: _unit(label, rows, cards) for label, rows in detections.groupby("detector", sort=False)}
    unit = detections["detector"].map(units)
    filters, inputs, models = (detections[unit == name] for name in ("pair", "input", "model"))
    return Detectors(
        _groups(filters, cells, names, cards, FILTER_NUMBERS),
        _groups(inputs, cells, names, cards, INPUT_NUMBERS),
        [_judge(label, rows, names, cards) for label, rows in models.groupby("detector", sort=False)],
    )


def _unit(label: Any, rows: Frame, cards: Cards) -> str:
    """What a detector scores: by its card, else by what it left behind; a test-time detector where nothing says."""
    said = cards.detector.get(label, NO_CARD).unit
    if said:
        return said
    if rows["suspicion"].notna().any():
        return "model"
    return "pair" if rows[[LEFT[0], "clean_accuracy"]].notna().any(axis=None) else "input"


def _groups(rows: Frame, cells: Frame, names: Names, cards: Cards, numbers: Sequence[str]) -> list[Group]:
    inputs = "false_alarms" in numbers
    shown = rows[rows["attack"] != "none"] if inputs else rows
    found = []
    for (objective, attack), group in shown.groupby(["objective", "attack"], sort=False):
        hit = (cells["objective"] == objective) & (cells["attack"] == attack) & (cells["selection"] == "undefended")
        twins = rows[(rows["objective"] == objective) & (rows["attack"] == "none")]
        lines = [
            _line(label, own, cells[hit], twins[twins["detector"] == label], names, cards, inputs=inputs)
            for label, own in group.groupby("detector", sort=False)
        ]
        title = "clean twin" if attack == "none" else names.attack[attack]
        found.append(Group(names.objective[objective], title, _about(group, cells[hit], inputs=inputs), lines))
    return found


def _line(label: Any, rows: Frame, undefended: Frame, twin: Frame, names: Names, cards: Cards, *, inputs: bool) -> Line:
    numbers = {name: _area(rows, name) for name in ("auroc", *SHARES)}
    if inputs:
        numbers |= {name: mean(rows, name) for name in INPUT_NUMBERS[1:3] + INPUT_NUMBERS[4:5]}
        numbers["false_alarms"] = mean(twin, "realised_fpr_at_1pct") if len(twin) else BLANK
    else:
        numbers |= {name: _left(rows, name) for name in LEFT}
        for name, column in (("retrained_accuracy", "clean_accuracy"), ("retrained_asr", "attack_success_rate")):
            numbers[name] = _against(rows, undefended, JUDGED + column)
    status, tone, reason = _status(rows)
    card = cards.detector.get(label, NO_CARD)
    note = "; ".join(filter(None, (_removal_note(rows), outside_note(rows["auxiliary_clean_accuracy"].mean()))))
    return Line(names.detector[label], label, needs_text(card), numbers, note, status, tone, reason)


def _area(rows: Frame, name: str) -> Number:
    """An area under a curve, mean over seeds."""
    return decimal(rows[name].mean())


def _left(rows: Frame, name: str) -> Number:
    """A number of pairs; its total is how many there were."""
    value, total = rows[name].mean(), rows[f"{name}_total"].mean()
    if not known(value):
        return BLANK
    recall = percent(1 - value / total) if total else NO_VALUE
    return Number(f"{value:,.0f}".replace(",", "\u202f"), value, tooltip=f"of {total:,.0f} poisoned; {recall} % found")


def _against(rows: Frame, undefended: Frame, column: str) -> Number:
    """A share with its change against the undefended model as a note."""
    number, start = mean(rows, column), undefended[column].mean()
    if number.sort is None or not known(start):
        return number
    return number._replace(note=signed(number.sort - start))


def _removal_note(rows: Frame) -> str:
    """Which share of the pairs retraining left out; "" for filters that only score."""
    if not rows["clean_accuracy"].notna().any():
        return ""
    try:
        share = json.loads(rows["parameters"].iloc[0])["remove_rate"]
    except (KeyError, TypeError, ValueError):
        return "retrained"
    return f"retrained without {100 * share:g} %" if isinstance(share, (int, float)) else "retrained"


def _about(rows: Frame, undefended: Frame, *, inputs: bool) -> str:
    """How many samples were judged, and what the undefended model does."""
    parts = []
    poisoned, total = (rows[name].max() for name in (f"{LEFT[0]}_total", "auroc_total"))
    if not inputs and known(poisoned) and known(total):
        parts.append(f"{poisoned:,.0f} poisoned of {total:,.0f} pairs".replace(",", "\u202f"))
    elif inputs and known(total):
        attacked, clean = (rows[f"{name}_total"].max() for name in ("tpr_at_1pct_fpr", "realised_fpr_at_1pct"))
        if known(attacked) and known(clean):
            parts.append(f"{attacked:,.0f} attacked and {clean:,.0f} clean images".replace(",", "\u202f"))
    accuracy, asr = (undefended[JUDGED + name].mean() for name in ("clean_accuracy", "attack_success_rate"))
    if known(accuracy):
        parts.append(f"undefended CA {percent(accuracy)}" + (f", ASR {percent(asr)}" if known(asr) else ""))
    return "; ".join(parts)


def _status(rows: Frame) -> tuple[str, str, str]:
    """Status, its tone and the reasons of rows, "" where all are ok; an ok row keeps its reason."""
    off = list(dict.fromkeys(status for status in rows["status"] if status != "ok"))
    reason = "; ".join(dict.fromkeys(plain(reason) for reason in rows["reason"] if reason))
    return ", ".join(status.replace("_", " ") for status in off), TONES.get(off[0], "bad") if off else "", reason


def _judge(label: Any, rows: Frame, names: Names, cards: Cards) -> Judge:
    scored = rows[rows["suspicion"].notna() & (rows["status"] == "ok")]
    sides = [scored[(scored["attack"] == "none") == clean] for clean in (False, True)]
    value = auroc(*(side["suspicion"].tolist() for side in sides))
    flagged = [int((side["flagged"] == 1).sum()) for side in sides]
    found, asked = scored["target_found"].sum(), scored["target_found"].notna().sum()
    counts = (
        f"{flagged[0]} of {len(sides[0])} attacked models called suspicious, "
        f"{flagged[1]} of {len(sides[1])} clean twins"
    ) + (f"; target named {found:.0f} of {asked} times" if asked else "")
    verdicts = [_verdict(row, names) for row in rows.sort_values("order", kind="stable").itertuples(index=False)]
    needs = needs_text(cards.detector.get(label, NO_CARD))
    return Judge(names.detector[label], needs, decimal(value, 2), counts, verdicts)


def _verdict(row: Any, names: Names) -> Verdict:
    clean, judged = row.attack == "none", known(row.flagged)
    off = row.status != "ok"
    return Verdict(
        objective=names.objective[row.objective],
        attack="clean twin" if clean else names.attack[row.attack],
        seed=str(row.seed),
        clean=clean,
        score=decimal(row.suspicion),
        flagged=("suspicious" if row.flagged else "not suspicious") if judged else NO_VALUE,
        right=bool(row.flagged) != clean if judged else None,
        target=("found" if row.target_found else "another class") if known(row.target_found) else NO_VALUE,
        status=row.status.replace("_", " ") if off else "",
        tone=TONES.get(row.status, "bad") if off else "",
        reason=plain(row.reason),
    )
