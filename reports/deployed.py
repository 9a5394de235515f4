"""Models under a transform, such as int8, beside the same models as they were trained."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from reports.compile import Frame
from reports.grid import Names
from reports.labels import NO_VALUE, known, off_words, signed
from reports.numbers import Number, proportion

FORM_RULES = ("undefended", "default")


class FormRow(NamedTuple):
    """One model in both forms, means over seeds."""

    shown: Mapping[str, str]
    off: str
    waits: bool  # the attack shows in this form only
    numbers: list[Number]  # CA, under the transform, change; ASR, under the transform, change; floor under it


class Form(NamedTuple):
    """One transform of the model."""

    name: str
    undefended: list[FormRow]
    repaired: list[FormRow]


def forms(cells: Frame, names: Names, transforms: tuple[str, ...]) -> list[Form]:
    """Every transform that was measured: undefended models, then repairs at their defaults."""
    found = []
    for transform in transforms:
        own = cells[cells[f"clean_accuracy@{transform}"].notna()]
        undefended, repaired = (_rows(own[own["selection"] == rule], transform, names) for rule in FORM_RULES)
        found.append(Form(transform, undefended, repaired))
    return [form for form in found if form.undefended or form.repaired]


def _rows(cells: Frame, transform: str, names: Names) -> list[FormRow]:
    return [
        FormRow(
            _shown(axes, names),
            off_words(group["status"]),
            bool((group["under"] == transform).all()),
            _both(group, transform),
        )
        for axes, group in cells.groupby(["objective", "attack", "repair"], sort=False)
    ]


def _both(group: Frame, transform: str) -> list[Number]:
    numbers = []
    for name in ("clean_accuracy", "attack_success_rate"):
        before, after = mean(group, name), mean(group, f"{name}@{transform}")
        change = float((group[f"{name}@{transform}"] - group[name]).mean())  # seed by seed
        numbers += [before, after, Number(signed(change), change if known(change) else None)]
    return [*numbers, mean(group, f"floor@{transform}")]


def mean(rows: Frame, name: str) -> Number:
    """A share over seeds: with its interval where there is one row with counts, else the plain mean."""
    values = rows[name].dropna()
    if values.empty:
        return Number(NO_VALUE, None)
    if len(rows) == 1:
        row = rows.iloc[0]
        return proportion(row[name], row[f"{name}_count"], row[f"{name}_total"])
    return proportion(float(values.mean()), -1, -1)._replace(tooltip=f"mean over {len(values)} seeds")


def _shown(axes: Any, names: Names) -> dict[str, str]:
    objective, attack, repair = axes
    attacked = "clean twin" if attack == "none" else names.attack[attack]
    repaired = "no repair" if repair == "none" else names.repair[repair]
    return {"objective": names.objective[objective], "attack": attacked, "repair": repaired}
