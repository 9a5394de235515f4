"""What detectors found: filters on training pairs, detectors of triggered images, detectors of attacked models."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from reports.cards import NO_CARD, Cards, needs_text
from reports.compile import DETECTOR_READOUTS, JUDGED, Frame
from reports.deployed import mean
from reports.grid import TONES, Names
from reports.labels import NO_VALUE, known, off_words, outside_note, percent, plain, signed
from reports.numbers import BLANK, Number, Scale, decimal, heading, mean_number, scales_of, shown_names
from reports.statistics import auroc

FALSE_ALARMS, FOUND = "realised_fpr_at_1pct", "tpr_at_1pct_fpr"  # whose denominators are clean and attacked images
PAIRS = "pairs"  # unit of measures that count what is left of the poisoned pairs
AGAINST = "change against the undefended model below"
RETRAINED = {
    "retrained_accuracy": ("clean_accuracy", "Retrained CA"),
    "retrained_asr": ("attack_success_rate", "Retrained ASR"),
}
Scales = Mapping[str, Scale]


class Column(NamedTuple):
    """A column of a section's tables."""

    name: str
    title: str
    about: str


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
    filter_columns: list[Column]
    input_columns: list[Column]


def detector_scales(measures: Frame) -> Scales:
    """Unit, bounds and direction of every measure of detectors, in the order of the records."""
    return scales_of(measures[measures["readout"].isin(DETECTOR_READOUTS)])


def detectors(detections: Frame, cells: Frame, names: Names, cards: Cards, scales: Scales) -> Detectors:
    """Sorts the detectors by what they score, and every row into its section."""
    units = {label: _unit(label, rows, cards, scales) for label, rows in detections.groupby("detector", sort=False)}
    unit = detections["detector"].map(units)
    filters, inputs, models = (detections[unit == name] for name in ("pair", "input", "model"))
    return Detectors(
        _groups(filters, cells, names, cards, scales, inputs=False),
        _groups(inputs, cells, names, cards, scales, inputs=True),
        [_judge(label, rows, names, cards) for label, rows in models.groupby("detector", sort=False)],
        _columns(filters, scales) + [Column(name, said, AGAINST) for name, (_, said) in RETRAINED.items()],
        [
            *_columns(inputs, scales),
            Column("false_alarms", "False alarms, clean twin", "on the clean twin all are false"),
        ],
    )


def _columns(rows: Frame, scales: Scales) -> list[Column]:
    """Every measure that a section's rows have."""
    there = [name for name in scales if name in rows and rows[name].notna().any()]
    return [Column(name, heading(name, scales[name]), "") for name in shown_names(there)]


def _counting(scales: Scales) -> list[str]:
    return [name for name, scale in scales.items() if scale.unit == PAIRS]


def _unit(label: Any, rows: Frame, cards: Cards, scales: Scales) -> str:
    """What a detector scores: by its card, else by what it left behind; a test-time detector where nothing says."""
    said = cards.detector.get(label, NO_CARD).unit
    if said:
        return said
    if rows["suspicion"].notna().any():
        return "model"
    return "pair" if rows[[*_counting(scales), "clean_accuracy"]].notna().any(axis=None) else "input"


def _groups(rows: Frame, cells: Frame, names: Names, cards: Cards, scales: Scales, *, inputs: bool) -> list[Group]:
    shown = rows[rows["attack"] != "none"] if inputs else rows
    columns, found = _columns(rows, scales), []
    for (objective, attack), group in shown.groupby(["objective", "attack"], sort=False):
        hit = (cells["objective"] == objective) & (cells["attack"] == attack) & (cells["selection"] == "undefended")
        twins = rows[(rows["objective"] == objective) & (rows["attack"] == "none")]
        lines = []
        for label, own in group.groupby("detector", sort=False):
            numbers = {name: _mean(own, name, scales[name]) for name, *_ in columns}
            twin = twins[twins["detector"] == label]
            numbers |= _alarms(twin, scales) if inputs else _retrained(own, cells[hit])
            lines.append(_line(label, own, numbers, names, cards))
        title = "clean twin" if attack == "none" else names.attack[attack]
        about = _about(group, cells[hit], scales, inputs=inputs)
        found.append(Group(names.objective[objective], title, about, lines))
    return found


def _mean(rows: Frame, name: str, scale: Scale) -> Number:
    return mean_number(rows[name], rows[f"{name}_count"], rows[f"{name}_total"], scale)


def _alarms(twin: Frame, scales: Scales) -> dict[str, Number]:
    there = len(twin) and FALSE_ALARMS in scales
    return {"false_alarms": _mean(twin, FALSE_ALARMS, scales[FALSE_ALARMS]) if there else BLANK}


def _retrained(rows: Frame, undefended: Frame) -> dict[str, Number]:
    return {name: _against(rows, undefended, JUDGED + column) for name, (column, _) in RETRAINED.items()}


def _line(label: Any, rows: Frame, numbers: Mapping[str, Number], names: Names, cards: Cards) -> Line:
    status, tone, reason = _status(rows)
    card = cards.detector.get(label, NO_CARD)
    note = "; ".join(filter(None, (_removal_note(rows), outside_note(rows["auxiliary_clean_accuracy"].mean()))))
    return Line(names.detector[label], label, needs_text(card), numbers, note, status, tone, reason)


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


def _about(rows: Frame, undefended: Frame, scales: Scales, *, inputs: bool) -> str:
    """How many samples were judged, and what the undefended model does."""
    parts, total = [], rows["auroc_total"].max()
    counting = [] if inputs else _counting(scales)
    poisoned = rows[[f"{name}_total" for name in counting]].max(axis=None) if counting else None
    if known(poisoned) and known(total):
        parts.append(f"{poisoned:,.0f} poisoned of {total:,.0f} pairs".replace(",", "\u202f"))
    elif inputs and {FOUND, FALSE_ALARMS} <= scales.keys():
        attacked, clean = (rows[f"{name}_total"].max() for name in (FOUND, FALSE_ALARMS))
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
    return off_words(off), TONES.get(off[0], "bad") if off else "", reason


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
    counts = counts if len(scored) else "No model has been judged"
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
