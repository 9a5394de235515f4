"""The board's statistics: AUROC over models, and the repair gap between two pre-training objectives.

Protocol, section 9: intervals over seeds are t-intervals of paired differences; with one seed an interval holds the
noise of the test samples only, and its label says so.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from scipy.special import stdtrit

from benchmark.stats import Interval, Z
from reports.compile import Frame

CONFIDENCE = 0.95
RELEVANT = ["objective", "attack", "seed", "repair", "selection", "status"]
RELEVANT += ["clean_accuracy_count", "clean_accuracy_total", "clean_accuracy"]


Where: TypeAlias = tuple[str, str, int]  # objective, attack, seed


class Change(NamedTuple):
    """What is said of one repaired cell: relative change of clean accuracy, or another number."""

    value: float  # -0.45 = lost 45 % of the undefended accuracy; NaN where it cannot be said
    variance: float  # of the test samples; 0 for a value that a rule has set; NaN where it is not known
    by_rule: bool  # True: no point met the bound, so the value is -1
    reason: str  # why there is no value


class Pair(NamedTuple):
    """One attack and seed under both objectives."""

    attack: str
    seed: int
    first: Change
    second: Change

    @property
    def gap(self) -> float:
        """First minus second; NaN where either is not there."""
        return self.first.value - self.second.value


class Gap(NamedTuple):
    """An estimate over pairs, its interval (None where none can be given) and what the interval covers."""

    first: float  # mean relative change under the first objective
    second: float
    estimate: float  # first minus second; NaN without a usable pair
    interval: Interval | None
    basis: str


class RepairGap(NamedTuple):
    """The headline: what a repair costs after one objective minus what it costs after the other."""

    repair: str
    objectives: tuple[str, str]
    selection: str
    overall: Gap
    by_attack: dict[str, Gap]
    pairs: tuple[Pair, ...]  # all of them, also those that do not count
    used: tuple[Pair, ...]  # those behind the overall estimate


def auroc(positives: Sequence[float], negatives: Sequence[float]) -> float:
    """Share of the pairs of a positive and a negative score that are ranked right, ties half; NaN without a pair."""
    if not len(positives) or not len(negatives):
        return math.nan
    first, second = np.asarray(positives, float)[:, None], np.asarray(negatives, float)[None, :]
    return float(((first > second) + 0.5 * (first == second)).mean())


def relative_change(selected: tuple[float, float], undefended: tuple[float, float]) -> Change:
    """Relative change between two accuracies given as (count, total), with its variance by the delta method.

    The two are counted on the same images; their covariance is not in the counts and taken as zero. It is positive in
    practice, so the variance is on the safe side.
    """
    count, total = selected
    base_count, base_total = undefended
    if not (total > 0 and base_total > 0 and base_count > 0):
        return Change(math.nan, math.nan, False, "no clean accuracy")
    share, base = count / total, base_count / base_total
    variance = share * (1 - share) / (total * base**2) + share**2 * (1 - base) / (base_total * base**3)
    return Change(share / base - 1, variance, False, "")


def repair_gap(cells: Frame, *, repair: str, objectives: tuple[str, str], selection: str = "oracle") -> RepairGap:
    """The published cut: relative change of clean accuracy under one selection rule, `objectives[0]` minus the other.

    Args:
        cells: the frame of `compile.Results`.
        repair: label of the repair.
        objectives: labels of the two pre-training objectives.
        selection: the rule whose points are compared.
    """
    rows = {tuple(row[:5]): row for row in cells[RELEVANT].itertuples(index=False)}
    repaired = (cells["attack"] != "none") & (cells["repair"] == repair)
    attacked = cells.loc[repaired, ["attack", "seed"]].drop_duplicates().itertuples(index=False)
    places = [(objective, attack, seed) for attack, seed in attacked for objective in objectives]
    changes = {where: _change(rows, where, repair, selection) for where in places}
    return paired_gap(changes, repair=repair, objectives=objectives, selection=selection)


def paired_gap(
    values: Mapping[Where, Change], *, repair: str, objectives: tuple[str, str], selection: str
) -> RepairGap:
    """The gap of any number of repaired cells, paired by attack and seed: mean, and a t-interval over seeds.

    Args:
        values: (objective, attack, seed) -> the number, for both objectives; NaN with a reason where there is none.
        repair: label of the repair that they are of.
        objectives: labels of the two pre-training objectives.
        selection: the rule, or what else the values are of.
    """
    attacked = dict.fromkeys((attack, seed) for _, attack, seed in values)
    pairs = tuple(
        Pair(attack, seed, *(values[objective, attack, seed] for objective in objectives)) for attack, seed in attacked
    )
    usable = [pair for pair in pairs if not math.isnan(pair.gap)]
    used = _balance(usable)
    by_attack = {
        attack: _summarise([pair for pair in usable if pair.attack == attack])
        for attack in dict.fromkeys(pair.attack for pair in pairs)
    }
    return RepairGap(repair, objectives, selection, _summarise(used), by_attack, pairs, tuple(used))


def _change(rows: dict[tuple, Any], where: Where, repair: str, selection: str) -> Change:
    undefended = rows.get((*where, "none", "undefended"))
    selected = rows.get((*where, repair, selection))
    if undefended is None or selected is None:
        return Change(math.nan, math.nan, False, "not in the suite")
    for row in (undefended, selected):
        if row.status not in ("ok", "repair_failed"):
            return Change(math.nan, math.nan, False, row.status)
    if selected.status == "repair_failed":
        return Change(-1.0, 0.0, True, "")
    return relative_change(_counts(selected), _counts(undefended))


def _counts(row: Any) -> tuple[float, float]:
    return row.clean_accuracy_count, row.clean_accuracy_total


def _balance(pairs: list[Pair]) -> list[Pair]:
    """Keeps the attacks that every seed has, so that seeds differ by the seed alone; all pairs where none is left."""
    seeds = {pair.seed for pair in pairs}
    complete = [pair for pair in pairs if {other.seed for other in pairs if other.attack == pair.attack} == seeds]
    return complete or pairs


def _summarise(pairs: list[Pair]) -> Gap:
    if not pairs:
        return Gap(math.nan, math.nan, math.nan, None, "no pair of cells has both objectives finished and planted")
    first = float(np.mean([pair.first.value for pair in pairs]))
    second = float(np.mean([pair.second.value for pair in pairs]))
    estimate = float(np.mean([pair.gap for pair in pairs]))
    seeds = sorted({pair.seed for pair in pairs})
    interval, basis = _sample_interval(pairs, estimate) if len(seeds) == 1 else _seed_interval(pairs, seeds, estimate)
    return Gap(first, second, estimate, interval, basis)


def _sample_interval(pairs: list[Pair], estimate: float) -> tuple[Interval | None, str]:
    """Delta method. All attacks share the test images, so their errors are averaged as if fully correlated."""
    error = float(np.mean([math.sqrt(pair.first.variance + pair.second.variance) for pair in pairs]))
    if math.isnan(error):
        return None, "one seed: another one may give another gap"
    if error == 0:
        return None, "one seed, and every value set by the −100 % rule: there is no sample noise to show"
    half = Z * error
    return Interval(estimate - half, estimate + half), "95 % interval of test-sample noise only (one seed)"


def _seed_interval(pairs: list[Pair], seeds: list[int], estimate: float) -> tuple[Interval | None, str]:
    """t-interval over seeds of the mean paired difference."""
    if len(pairs) != len(seeds) * len({pair.attack for pair in pairs}):
        return None, "no interval: no attack is finished for every seed"
    means = [np.mean([pair.gap for pair in pairs if pair.seed == seed]) for seed in seeds]
    error = float(np.std(means, ddof=1)) / math.sqrt(len(seeds))
    if error == 0:
        return None, f"no interval: {len(seeds)} seeds give exactly the same value"
    half = float(stdtrit(len(seeds) - 1, 0.5 + CONFIDENCE / 2)) * error
    basis = f"95 % t-interval over {len(seeds)} seeds of paired differences"
    return Interval(estimate - half, estimate + half), basis
