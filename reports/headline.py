"""The headline: which objectives and repairs it compares, and the repair gap in plain words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from reports.compile import Frame, at
from reports.grid import Names, fell_back
from reports.labels import NO_VALUE, known, percent, signed, split
from reports.statistics import Change, Gap, RepairGap, repair_gap


def objective_pair(objectives: Sequence[str]) -> tuple[str, str] | None:
    """The two objectives of the headline: MMCL and MMCL+SSL where both are there, else the first two."""
    by_name = {split(label)[0]: label for label in reversed(objectives)}
    if "mmcl" in by_name and "mmcl-ssl" in by_name:
        return by_name["mmcl"], by_name["mmcl-ssl"]
    return (objectives[0], objectives[1]) if len(objectives) > 1 else None


def repair_gaps(cells: Frame, objectives: Sequence[str]) -> list[RepairGap]:
    """The gap of every searched repair, in the suite's order; the first is the headline.

    Attacks that show only in a transformed model are left out, since searches look at the model as it is.
    """
    pair, cells = objective_pair(objectives), cells[cells["under"] == ""]
    searched = cells.loc[cells["searched"].astype(bool), "repair"].drop_duplicates()
    return [repair_gap(cells, repair=repair, objectives=pair) for repair in searched] if pair else []


ONE_SEED = "one seed: no interval, no direction"


class GapRow(NamedTuple):
    """One attack of the headline's table."""

    attack: str
    first: str
    second: str
    gap: str
    interval: str
    notes: list[str]  # why pairs are left out, where a rule has set a value
    blind: tuple[str, str]  # CA / ASR under the trigger-blind rule, per objective


class Headline(NamedTuple):
    """The repair gap, for people."""

    number: str  # in points of relative change; "" without a gap, and with one seed, which gives no direction
    interval: str
    basis: str  # what the interval covers; "" without a gap
    first: str  # mean change under the first objective
    second: str
    reading: list[str]
    rows: list[GapRow]
    repair: str
    objectives: tuple[str, str]


def headline(gap: RepairGap, cells: Frame, names: Names) -> Headline:
    """Puts the repair gap into words that hold for either sign and for missing data."""
    overall, alone, nothing = gap.overall, one_seed(gap), math.isnan(gap.overall.estimate)
    first, second = (names.objective[label] for label in gap.objectives)
    rows = [_gap_row(gap, attack, part, cells, names) for attack, part in gap.by_attack.items()]
    return Headline(
        number="" if alone or nothing else signed(overall.estimate),
        interval="" if alone else interval_text(overall),
        basis=ONE_SEED if alone else "" if nothing else overall.basis,
        first=signed(overall.first),
        second=signed(overall.second),
        reading=reading(gap, names),
        rows=rows,
        repair=names.repair[gap.repair],
        objectives=(first, second),
    )


def _gap_row(gap: RepairGap, attack: str, part: Gap, cells: Frame, names: Names) -> GapRow:
    first, second = gap.objectives
    seeds = {pair.seed for pair in gap.pairs if pair.attack == attack and not math.isnan(pair.gap)}
    return GapRow(
        attack=names.attack[attack],
        first=signed(part.first),
        second=signed(part.second),
        gap=signed(part.estimate),
        interval=interval_text(part) if len(seeds) > 1 else "",
        notes=_notes(gap, attack, (names.objective[first], names.objective[second])),
        blind=(_blind(cells, first, attack, gap.repair), _blind(cells, second, attack, gap.repair)),
    )


def _blind(cells: Frame, objective: str, attack: str, repair: str) -> str:
    """`69.4 / 8.2`: what the trigger-blind rule's points keep and leave, mean over the seeds that were planted."""
    start = at(cells, objective, attack, "none", "undefended")
    planted = start.loc[start["status"] == "ok", "seed"]
    rows = at(cells, objective, attack, repair, "trigger_blind")
    rows = rows[rows["seed"].isin(planted)]
    if (rows["void"] != "").any():
        return "void"
    accuracy, asr = (rows[name].mean() for name in ("clean_accuracy", "attack_success_rate"))
    if not known(accuracy):
        return NO_VALUE
    fallen = sum(fell_back(row) for row in rows.itertuples(index=False))
    where = "" if fallen == len(rows) else f" in {fallen} of {len(rows)} seeds"
    return f"{percent(accuracy)} / {percent(asr)}" + (f" (by the defaults{where})" if fallen else "")


def one_seed(gap: RepairGap) -> bool:
    """Whether the gap rests on one seed: what another seed would give is then unknown, its sign too."""
    return len({pair.seed for pair in gap.used}) == 1


def interval_text(gap: Gap) -> str:
    """`[+1.2, +3.4]`, or nothing where there is no interval."""
    return f"[{signed(gap.interval.low)}, {signed(gap.interval.high)}]" if gap.interval else ""


def reading(gap: RepairGap, names: Names) -> list[str]:
    """The headline in plain sentences."""
    first, second = (names.objective[label] for label in gap.objectives)
    repair, overall = names.repair[gap.repair], gap.overall
    if math.isnan(overall.estimate):
        return [f"There is no repair gap to report yet: {overall.basis}."]
    changes = [change for pair in gap.used for change in (pair.first, pair.second)]
    ruled = sum(change.by_rule for change in changes)
    if one_seed(gap):
        said = _by_attack(gap, names)
    elif ruled == len(changes):
        said = f"With {repair}, no point met the bound without collapsing under either objective: both lose by rule."
    elif ruled:  # how much accuracy the bound would have taken is not known there, so neither is the difference
        changed = f"{signed(overall.first)}\u00a0% after {first} and by {signed(overall.second)}\u00a0% after {second}"
        said = (
            f"Under the bound with {repair}, clean accuracy changed by {changed}; "
            "a part of that is set by rule, which gives no direction."
        )
    else:
        said = _comparison(overall, repair, (first, second))
    sentences = [said]
    if ruled:
        one = "that cell counts" if ruled == 1 else "those cells count"
        sentences.append(
            f"In {ruled} of {len(changes)} cells no point met the bound without collapsing; {one} as −100\u00a0%."
        )
    if left := len(gap.pairs) - len(gap.used):
        sentences.append(f"{left} of {len(gap.pairs)} pairs of cells could not be used; the table says why.")
    return sentences


def _by_attack(gap: RepairGap, names: Names) -> str:
    """What one seed allows: a value per attack, and whether the attacks agree in sign."""
    values = {names.attack[attack]: part.estimate for attack, part in gap.by_attack.items()}
    values = {attack: value for attack, value in values.items() if not math.isnan(value)}
    listed = ", ".join(f"{attack} {signed(value)}" for attack, value in values.items())
    if min(values.values()) < 0 < max(values.values()):
        return f"The attacks disagree in sign ({listed}): their mean would say nothing."
    return f"By attack: {listed}. Another seed may well give another gap."


def _comparison(overall: Gap, repair: str, objectives: tuple[str, str]) -> str:
    first, second = objectives
    size = f"{abs(100 * overall.estimate):.1f}"
    if size == "0.0":
        return f"Bringing the backdoor under the bound with {repair} cost the same after {first} and after {second}."
    more, hard = ("more", "harder") if overall.estimate > 0 else ("less", "easier")
    said = (
        f"Bringing the backdoor under the bound with {repair} cost {size} points {more} of the starting clean "
        f"accuracy after {second} than after {first}"
    )
    if overall.interval and overall.interval.low <= 0 <= overall.interval.high:
        return f"{said}, but the interval includes zero: this suite does not tell the two objectives apart."
    return f"{said}: here, repair was {hard} after {second}."


def _notes(gap: RepairGap, attack: str, objectives: tuple[str, str]) -> list[str]:
    pairs = [pair for pair in gap.pairs if pair.attack == attack]
    several = len({pair.seed for pair in gap.pairs}) > 1
    notes = []
    for pair in pairs:
        where = f", seed {pair.seed}" if several else ""
        for objective, change in zip(objectives, (pair.first, pair.second), strict=True):
            if note := _note(change):
                notes.append(f"{objective}{where}: {note}")
        if pair not in gap.used and not math.isnan(pair.gap):
            notes.append(f"seed {pair.seed}: not in the mean, since other seeds of this attack are not finished")
    return notes


def _note(change: Change) -> str:
    return "no point met the bound" if change.by_rule else change.reason.replace("_", " ")
