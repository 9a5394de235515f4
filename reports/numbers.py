"""How any measure is named, written and coloured: by its unit, its bounds and its direction, never by its name."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from benchmark.stats import Interval, newcombe, wilson
from reports.labels import MEASURES, NO_VALUE, known, percent, plain, signed

# Words of the field inside the names of measures; every other word is written as it is.
_WORDS: Mapping[str, str] = {
    **{word: word.upper() for word in ("asr", "auroc", "auprc", "fpr", "fnr", "tdpa", "tpr", "roc")},
    "z": "z",
}
SHARE = "share"


class Number(NamedTuple):
    """A table entry: what is read, what sorts, and what stands behind it."""

    text: str
    sort: float | None
    note: str = ""  # the interval, set small
    tooltip: str = ""  # counts and how the interval was made


BLANK = Number(NO_VALUE, None)


class Scale(NamedTuple):
    """What is said of a measure beside its value."""

    unit: str = ""  # "" where a record does not say: a share where it has counts
    lower: float | None = None  # None: unbounded
    upper: float | None = None
    higher_is_better: bool | None = None

    def place(self, value: float) -> float | None:
        """Where a value lies between the bounds, 0 to 1; None without two bounds."""
        if self.lower is None or self.upper is None or not known(value):
            return None
        return min(1.0, max(0.0, (value - self.lower) / (self.upper - self.lower)))

    @property
    def arrow(self) -> str:
        """` ↑` where more is better, ` ↓` where less is, else nothing; on the line of the word before."""
        return {True: "\u00a0↑", False: "\u00a0↓", None: ""}[self.higher_is_better]


# What records from before units (schemas 1 to 3) meant by measures that are no proportions; without transform and level
_BEFORE_UNITS: Mapping[str, Scale] = {
    "net_asr": Scale(SHARE, -1.0, 1.0, False),
    "auroc": Scale("area", 0.0, 1.0, True),
    "auprc": Scale("area", 0.0, 1.0, True),
    "poisons_left": Scale("pairs", 0.0, None, False),
}


def scales_of(measures: Any) -> dict[str, Scale]:
    """Name -> scale, of every measure of a frame with the columns of `schemas.MEASURE`; what is said last counts."""
    fields = ["name", *Scale._fields]
    once = measures[fields].drop_duplicates(fields)
    return {
        str(name): Scale(plain(unit), _bound(low), _bound(high), _direction(better))
        if isinstance(unit, str)
        else _BEFORE_UNITS.get(str(name).partition("@")[0].partition("_at_")[0], Scale())
        for name, unit, low, high, better in once.itertuples(index=False)
    }


def _bound(value: Any) -> float | None:
    return float(value) if value is not None and known(value) else None


def _direction(value: Any) -> bool | None:
    return None if value is None or value != value else bool(value)


def title(name: str) -> str:
    """A measure's name in words: `auprc_at_0.1pct` to `AUPRC at 0.1 %`; those of the headline by their short names."""
    bare, _, form = plain(name).partition("@")
    words = bare.replace("/", " ").replace("pct", " %").split("_")
    said = MEASURES.get(bare) or " ".join(_WORDS.get(word, word) for word in words)
    return f"{said} {form}" if form else said


def heading(name: str, scale: Scale) -> str:
    """A column's title: name, unit where it is no share, and an arrow to the better side."""
    unit = f" ({scale.unit})" if scale.unit not in ("", SHARE) else ""
    return capital(title(name)) + unit + scale.arrow


def capital(text: str) -> str:
    """A text with a capital first letter, the rest as it is."""
    return text[:1].upper() + text[1:]


def shown_names(names: Iterable[str]) -> list[str]:
    """Names of measures for a table, once each: without those of single classes, of transforms, and of intervals.

    Plain names stand before those of levels (`…_at_…`), levels of one thing beside each other; else the order stays.
    """
    every = dict.fromkeys(names)
    bounds = {f"{name}_{side}" for name in every for side in ("low", "high")}
    kept = [name for name in every if "/" not in name and "@" not in name and name not in bounds]
    first: dict[str, int] = {}
    for place, name in enumerate(kept):
        first.setdefault(name.partition("_at_")[0], place)
    return sorted(kept, key=lambda name: ("_at_" in name, first[name.partition("_at_")[0]]))


def number(value: float | None, count: float, total: float, scale: Scale) -> Number:
    """A value as its unit is written: shares in percent, with an interval where there are counts; others plain."""
    if not known(value):
        return BLANK
    if scale.unit == SHARE or (not scale.unit and count >= 0):
        two_sided = scale.lower is not None and scale.lower < 0
        return Number(signed(value), value) if two_sided else proportion(value, count, total)
    if scale.lower == 0 and scale.upper is None and float(value).is_integer():  # a number of things
        of = f"of {total:,.0f}" if known(total) and total > 0 else ""
        return Number(_grouped(value), float(value), tooltip=of.replace(",", "\u202f"))
    return decimal(value, 3 if scale.lower is not None and scale.upper is not None else 2)


def proportion(value: float, count: float, total: float) -> Number:
    """A share with its Wilson interval where it has counts."""
    if not counted(count, total):
        return Number(percent(value), value)
    interval = wilson(count, total)
    tooltip = f"{count:.0f} of {total:.0f}; 95 % Wilson interval {_range(interval)} %"
    return Number(percent(value), value, _range(interval), tooltip)


def counted(count: float, total: float) -> bool:
    """Whether a share has counts: then there is an interval."""
    return total > 0 and 0 <= count <= total


def difference(value: float, first: tuple[float, float], second: tuple[float, float]) -> Number:
    """The difference of two shares, with Newcombe's interval where both (count, total) are there."""
    if not (counted(*first) and counted(*second)):
        return Number(signed(value), value)
    low, high = newcombe(first, second)
    said = f"{signed(low)} to {signed(high)}"
    return Number(signed(value), value, said, f"95 % Newcombe interval {said} points")


def decimal(value: float | None, digits: int = 3) -> Number:
    """A number that is no share, as it is."""
    return Number(f"{value:.{digits}f}".replace("-", "−"), float(value)) if known(value) else BLANK


def whole(value: float) -> Number:
    """A count of something."""
    return Number(_grouped(value), float(value)) if known(value) else BLANK


def mean_number(values: Any, counts: Any, totals: Any, scale: Scale) -> Number:
    """Over seeds: one row as it is, several as their plain mean."""
    there = values.dropna()
    if there.empty:
        return BLANK
    if len(values) == 1:
        return number(float(values.iloc[0]), float(counts.iloc[0]), float(totals.iloc[0]), scale)
    found = number(float(there.mean()), -1 if scale.unit else math.nan, math.nan, scale)
    return found._replace(tooltip=f"mean over {len(there)} seeds")


def _grouped(value: float) -> str:
    return f"{value:,.0f}".replace(",", "\u202f").replace("-", "−")


def _range(interval: Interval) -> str:
    return f"{percent(interval.low)}–{percent(interval.high)}"
