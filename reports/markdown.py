"""The board's main tables as Markdown, for notes and documentation."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from reports.answer import CUTS, Answer
from reports.deployed import Form
from reports.detection import Column, Detectors, Group, Judge
from reports.evidence import NOTE
from reports.floors import FloorRow
from reports.further import MeasureTable
from reports.headline import Headline
from reports.matrix import Entry, Matrix
from reports.numbers import Number
from reports.ranking import Ranking
from reports.rebound import ReboundPart
from reports.standing import Reason
from reports.views import MethodRow

_MARKUP = re.compile(r"([\\`*_\[\]<>|~#])")


def escape(text: object) -> str:
    """A text that means nothing to Markdown, on one line."""
    return _MARKUP.sub(r"\\\1", " ".join(str(text).split()))


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; every entry is escaped."""
    heads, *entries = [[escape(entry) for entry in row] for row in (header, *rows)]
    lines = [heads, ["---"] * len(header), *entries]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def document(
    title: str,
    *,
    answers: Sequence[Answer],
    rankings: Sequence[Ranking],
    headline: Headline | None,
    matrices: Sequence[Matrix],
    floors: Sequence[FloorRow],
    found: Detectors,
    forms: Sequence[Form],
    rebound: ReboundPart | None,
    measured: Sequence[MeasureTable],
    reasons: Sequence[Reason],
    skipped: Sequence[str],
    methods: Sequence[MethodRow],
) -> str:
    """All main tables, one after another."""
    parts = [f"# {escape(title)}", "Shares in %, on test, zero-shot; CA / ASR. Made by `backstop board`."]
    for answer in answers:
        parts += [f"## What {escape(answer.repair)} can be had for", *_answer(answer)]
    for ranking in rankings:
        parts += [f"## Repairs {escape(ranking.title)}, at their defaults", NOTE, _ranking(ranking)]
    if headline:
        parts += ["## Repair gap", *_gap(headline)]
    for matrix in matrices:
        parts += [f"## {escape(matrix.title)}: defenses against attacks", _matrix(matrix)]
    if floors:
        parts += ["## Attack success over its floor, repairs at their defaults", _floors(floors)]
    if found.filters:
        parts += ["## Filters on training pairs", _groups(found.filters, found.filter_columns)]
    if found.inputs:
        parts += ["## Detectors of triggered images", _groups(found.inputs, found.input_columns)]
    if found.models:
        parts += ["## Detectors of attacked models", *(text for judge in found.models for text in _judge(judge))]
    for form in forms:
        parts += [f"## Models in {escape(form.name)}", _form(form)]
    if rebound:
        parts += ["## Rebound", *_rebound(rebound)]
    for one in measured:
        parts += [f"## {escape(one.title)}", _measure_table(one)]
    if reasons or skipped:
        parts += ["## What did not run or does not count", *(escape(line) for line in skipped)]
        parts += [_reasons(reasons)] if reasons else []
    if methods:
        parts += ["## Methods", NOTE, _methods(methods)]
    return "\n\n".join(parts) + "\n"


def _answer(answer: Answer) -> list[str]:
    number = f"**{answer.number}** points of front area {escape(answer.interval)} " if answer.number else ""
    number += f"({escape(answer.basis)})." if answer.basis else ""
    cuts = [f"cut at {100 * rate:g} %" for rate in CUTS]
    header = ["against", "after", "start", "pre-training", "front area", *cuts]
    header += ["epochs within", "trials within", "cells without", "notes"]
    lines = []
    for line in answer.lines:
        of_test = line.start, line.cost, line.area, *line.cuts
        lines.append([line.attack, line.objective, *of_test, line.epochs, line.trials, line.none, line.notes])
    gaps = [[line.attack, line.gap, line.interval] for line in answer.gaps]
    said = " ".join(filter(None, [number, *map(escape, answer.reading)]))
    return [said, table(header, lines), table(["against", "gap of front area", "95 % interval"], gaps)]


def _ranking(ranking: Ranking) -> str:
    header = ["rank", "repair", "net ASR", "CA", "PA", "cells", "not told from", "oracle", "trigger-blind", "notes"]
    rows = [
        [row.rank, row.title, row.net, row.lost, row.poisoned, row.coverage, row.alike, row.oracle, row.blind, row.band]
        for row in ranking.rows
    ]
    return table(header, rows)


def _gap(headline: Headline) -> list[str]:
    number = f"**{headline.number}** points {escape(headline.interval)} " if headline.number else ""
    number += f"({escape(headline.basis)})." if headline.basis else ""
    rows = [[row.attack, row.first, row.second, row.gap, row.interval, "; ".join(row.notes)] for row in headline.rows]
    header = [headline.repair, *headline.objectives, "gap", "95 % interval", "notes"]
    return [" ".join(filter(None, [number, *map(escape, headline.reading)])), table(header, rows)]


def _matrix(matrix: Matrix) -> str:
    header = ["", "needs", *(f"{name} ({note})" if note else name for name, note in matrix.attacks)]
    rows = [
        [row.title, row.needs or model, *(_said(entry) for entry in row.entries)]
        for model, group in matrix.groups
        for row in group
    ]
    return table(header, rows)


def _floors(floors: Sequence[FloorRow]) -> str:
    header = ["objective", "attack", "repair", "ASR", "floor", "floor of the repaired twin", "net ASR", ""]
    return table(header, ([*row.shown, *row.numbers, row.seeds] for row in floors))


def _said(entry: Entry) -> str:
    told = [part for part in (entry.off, entry.small) if part and part != entry.text]
    return f"{entry.text} ({', '.join(told)})" if told else entry.text


def _groups(groups: Sequence[Group], columns: Sequence[Column]) -> str:
    rows = []
    for group in groups:
        for line in group.lines:
            numbers = [_text(line.numbers[name]) for name, *_ in columns]
            rows.append([group.objective, group.attack, line.detector, *numbers, line.status or line.note])
    return table(["objective", "attack", "detector", *(said for _, said, _ in columns), ""], rows)


def _text(number: Number) -> str:
    return f"{number.text} [{number.note}]" if number.note else number.text


def _judge(judge: Judge) -> list[str]:
    rows = [
        [one.objective, one.attack, one.score.text, one.flagged, one.target, one.status or one.reason]
        for one in judge.verdicts
    ]
    area = f"AUROC {judge.auroc.text}; " if judge.auroc.sort is not None else ""
    said = f"{escape(judge.detector)}: {area}{escape(judge.counts)}."
    return [said, table(["objective", "model", "suspicion", "verdict", "target", ""], rows)]


def _form(form: Form) -> str:
    name = form.name
    numbers = ["CA", f"CA {name}", "change", "ASR", f"ASR {name}", "change", f"floor {name}"]
    rows = [[*row.shown.values(), *(one.text for one in row.numbers)] for row in (*form.undefended, *form.repaired)]
    return table(["objective", "attack", "repair", *numbers], rows)


def _rebound(part: ReboundPart) -> list[str]:
    said = f"Fine-tuned on {part.pairs}. Steps: {part.steps}. {part.missing}".strip()
    header = ["objective", "attack", "model", "rule", "ASR at step 0", "highest", "rise", "area", "highest net"]
    header += ["revival step", "CA at step 0", "CA at the end", "change", ""]
    lines = [escape(said)]
    for one in part.tables:
        rows = []
        for row in one.rows:
            first, second = ([number.text for number in half] for half in (row.numbers[:5], row.numbers[5:]))
            rows.append([row.objective, row.attack, row.model, row.rule, *first, row.revival, *second, row.note])
        lines += [f"### {escape(one.title)}", table(header, rows)]
    return lines


def _measure_table(found: MeasureTable) -> str:
    header = ["objective", "attack", "repair", "seed", "rule", *found.columns]
    rows = [[*row.shown.values(), *map(_text, row.numbers)] for row in found.rows]
    return table(header, rows)


def _reasons(reasons: Sequence[Reason]) -> str:
    rows = [[one.status, one.reason, ", ".join(one.methods), "; ".join(one.models)] for one in reasons]
    return table(["status", "reason", "methods", "models"], rows)


def _methods(methods: Sequence[MethodRow]) -> str:
    header = [
        "kind",
        "method",
        "source",
        "access",
        "needs",
        "set by the suite",
        "published, where it differs",
        "in short",
    ]
    rows = (
        [one.kind, one.title, one.citation, one.access, one.needs, one.settings, one.differs, one.summary]
        for one in methods
    )
    return table(header, rows)
