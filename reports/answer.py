"""The answer of a board: what a repair could be had for after one pre-training objective and after the other.

Its number is the gap of the normalised front area (`benchmark.stats.front_area`), paired by attack and seed. Beside it
stand the starts, the published cut and how much met the bound, since a gap means little where these differ.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from benchmark.store.artifacts import Store
from reports.areas import Bound, Searched, area_values, searched_cells
from reports.compile import Results
from reports.grid import Names
from reports.headline import interval_text, objective_pair, one_seed
from reports.labels import NO_VALUE, known, percent, seconds, signed
from reports.power import detectable
from reports.samples import Samples, samples_of
from reports.statistics import Change, RepairGap, Where, paired_gap

CUTS = (0.05, 0.10)  # of net ASR: the study's bound, and twice as much


class Line(NamedTuple):
    """One attack under one objective, means over its seeds."""

    attack: str
    objective: str
    start: str  # CA and net ASR of the undefended model
    cost: str  # how long its pre-training took
    area: str
    cuts: list[str]  # relative change of CA within each of CUTS
    epochs: str  # that met the suite's bound on validation
    trials: str
    none: str  # cells where no epoch did
    notes: str


class GapLine(NamedTuple):
    """One attack's gap."""

    attack: str
    gap: str
    interval: str  # over seeds; "" with one
    images: str  # with one seed: where the gap lies for 95 of 100 draws of the test images
    trials: str  # with one seed: its deviation over draws of the trials


class Answer(NamedTuple):
    """For people, and what the figure draws."""

    repair: str
    objectives: tuple[str, str]
    number: str  # points of area; "" where no number may stand for all attacks
    interval: str
    basis: str
    reading: list[str]
    lines: list[Line]
    gaps: list[GapLine]
    flattered: str  # how much reading a front by its best points on test adds; "" where it cannot be said
    searched: Mapping[Where, Searched]
    gap: RepairGap


def answers(store: Store, results: Results, names: Names, bound: Bound) -> list[Answer]:
    """One for each searched repair, in the suite's order; none where searches kept no front, or with one objective.

    Attacks that show only in a transformed model are left out, since searches look at the model as it is.
    """
    search = results.suite.get("protocol", {}).get("search") or {}
    cells = results.cells[results.cells["under"] == ""]
    pair = objective_pair(list(dict.fromkeys(cells["objective"])))
    if not search.get("front") or pair is None:
        return []
    repairs = cells.loc[cells["searched"].astype(bool), "repair"].drop_duplicates()
    return [_answer(store, results._replace(cells=cells), names, repair, pair, bound) for repair in repairs]


def _answer(store: Store, results: Results, names: Names, repair: str, pair: tuple[str, str], bound: Bound) -> Answer:
    trials = results.trials[results.trials["repair"] == repair]
    searched = searched_cells(results.cells, results.fronts, trials, repair=repair, objectives=pair, bound=bound)
    samples = samples_of(store, searched, trials, pair)
    models = (cell.keys["pretrain"] for cell in searched.values() if "pretrain" in cell.keys)
    costs = {key: facts.get("wall_s") for key, facts in store.facts_of("pretrain", models).items()}
    gap = paired_gap(area_values(searched), repair=repair, objectives=pair, selection="front")
    overall, quiet = gap.overall, one_seed(gap) or _disagree(gap)
    return Answer(
        names.repair[repair],
        (names.objective[pair[0]], names.objective[pair[1]]),
        "" if quiet or math.isnan(overall.estimate) else signed(overall.estimate),
        "" if quiet else interval_text(overall),
        "" if quiet or math.isnan(overall.estimate) else overall.basis,
        reading(gap, names),
        [_line(searched, costs, (objective, attack), names, bound) for attack in gap.by_attack for objective in pair],
        [_gap_line(gap, attack, samples, names) for attack in gap.by_attack],
        "; ".join(f"{names.objective[name]} {signed(value)}" for name, value in samples.optimism.items()),
        searched,
        gap,
    )


def _gap_line(gap: RepairGap, attack: str, samples: Samples, names: Names) -> GapLine:
    part, alone = gap.by_attack[attack], one_seed(gap)
    spread = next((own for (name, _), own in samples.spreads.items() if name == attack), None) if alone else None
    return GapLine(
        names.attack[attack],
        signed(part.estimate),
        "" if alone else interval_text(part),
        f"{signed(spread.images[0])} to {signed(spread.images[1])}" if spread else "",
        f"±{percent(spread.trials)}" if spread else "",
    )


def _disagree(gap: RepairGap) -> bool:
    """Whether attacks differ in sign, so that their mean would say nothing."""
    values = [part.estimate for part in gap.by_attack.values() if known(part.estimate)]
    return bool(values) and min(values) < 0 < max(values)


def reading(gap: RepairGap, names: Names) -> list[str]:
    """The answer in plain sentences; a direction only where the interval over seeds leaves zero out."""
    overall = gap.overall
    if math.isnan(overall.estimate):
        return [f"There is no answer yet: {overall.basis}."]
    first, second = (names.objective[label] for label in gap.objectives)
    if one_seed(gap) or _disagree(gap):
        parts = [
            f"{names.attack[attack]}: {percent(part.first)} after {first}, {percent(part.second)} after {second}"
            for attack, part in gap.by_attack.items()
            if known(part.estimate)
        ]
        listed = "; ".join(parts)
        why = ["The attacks disagree in sign: there is no one answer for all of them."] if _disagree(gap) else []
        why += ["One seed: no direction. Another seed may well give another gap."] if one_seed(gap) else []
        said = [f"{listed}.", *why]
    else:
        said = _compared(gap, names.repair[gap.repair], (first, second))
    return [*said, *_left_out(gap, names)]


def _left_out(gap: RepairGap, names: Names) -> list[str]:
    """Attacks and seeds that are in no mean; the lines' notes say why."""
    used, seeds = {pair.attack for pair in gap.used}, dict.fromkeys(pair.seed for pair in gap.pairs)
    said = []
    for attack in gap.by_attack:
        there = sum(pair.attack == attack and known(pair.gap) for pair in gap.pairs)
        if attack not in used:
            count = f"{there} of {len(seeds)} seeds have" if there else "no seed has"
            said.append(f"{names.attack[attack]} is in no mean: {count} it under both objectives.")
    lost = [str(seed) for seed in seeds if seed not in {pair.seed for pair in gap.used}]
    if lost:
        said.append(f"Seed{'s' if len(lost) > 1 else ''} {', '.join(lost)}: no cell that counts.")
    return said


def _compared(gap: RepairGap, repair: str, objectives: tuple[str, str]) -> list[str]:
    first, second = objectives
    overall = gap.overall
    said = (
        f"With {repair}, {percent(overall.first)}\u00a0% of what would be ideal could be had after {first}, "
        f"{percent(overall.second)}\u00a0% after {second}"
    )
    if not overall.interval:
        return [f"{said}. {overall.basis.capitalize()}."]
    if overall.interval.low <= 0 <= overall.interval.high:
        return [
            f"{said}; the interval of the difference includes zero: this suite does not tell them apart.",
            *_power(gap),
        ]
    return [f"{said}: here, repair was {'harder' if overall.estimate > 0 else 'easier'} after {second}.", *_power(gap)]


def _power(gap: RepairGap) -> list[str]:
    """What these seeds could have found."""
    seeds = sorted({pair.seed for pair in gap.used})
    least = detectable([float(np.mean([pair.gap for pair in gap.used if pair.seed == seed])) for seed in seeds])
    if math.isnan(least):
        return []
    spread = f"{len(seeds)} seeds that differ as these do"
    found = f"a gap of {percent(least)} points is" if least < 1 else "no gap would be"
    return [f"With {spread}, {found} found four times of five."]


def _line(
    searched: Mapping[Where, Searched],
    costs: Mapping[str, float | None],
    place: tuple[str, str],
    names: Names,
    bound: Bound,
) -> Line:
    objective, attack = place
    cells = {seed: cell for (*where, seed), cell in searched.items() if tuple(where) == place}
    good = [cell for cell in cells.values() if not cell.reason]
    several = len(cells) > 1
    notes = [
        f"{f'seed {seed}: ' if several else ''}{cell.reason.replace('_', ' ')}"
        for seed, cell in cells.items()
        if cell.reason
    ]
    spent = [cost for cell in good if known(cost := costs.get(cell.keys.get("pretrain", "")))]
    none = sum(cell.epochs_within == 0 for cell in good)
    return Line(
        names.attack[attack],
        names.objective[objective],
        f"{_mean([cell.accuracy for cell in good])} / {_mean([cell.net for cell in good])}" if good else NO_VALUE,
        seconds(float(np.mean(spent))) if spent else NO_VALUE,
        _mean([cell.area for cell in good]),
        [_cut([cell.cut(bound._replace(rate=rate)) for cell in good]) for rate in CUTS],
        _share(good, "epochs"),
        _share(good, "trials"),
        f"{none} of {len(good)}" if good else NO_VALUE,
        "; ".join(notes),
    )


def _mean(values: Sequence[float]) -> str:
    return percent(float(np.mean(values))) if values else NO_VALUE


def _cut(changes: Sequence[Change]) -> str:
    """Mean of the cells where some point met the bound, and how many that are: a rule's −100 % is no measurement."""
    found = [change.value for change in changes if not change.by_rule]
    if not found:
        return "none met it" if changes else NO_VALUE
    return signed(float(np.mean(found))) + (f" ({len(found)} of {len(changes)})" if len(found) < len(changes) else "")


def _share(cells: Sequence[Any], name: str) -> str:
    within, total = (sum(getattr(cell, field) for cell in cells) for field in (f"{name}_within", name))
    return f"{within} of {total}" if total else NO_VALUE
