"""What the board says around its grid: cards per objective, controls, the protocol."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from reports.compile import Frame, at
from reports.grid import Names, Number
from reports.labels import NO_VALUE, known, percent, plain, signed, split

CONTROL_TEXTS: Mapping[str, tuple[str, str]] = {
    "fine-tuning": (
        "MMCL fine-tuning",
        "The defender's clean pairs, trained on with the plain contrastive loss. What a repair adds to mere "
        "fine-tuning is its distance from this row.",
    ),
    "batch-norm-only": (
        "BatchNorm only",
        "Learning rate 0: no weight moves, only BatchNorm's running statistics are re-estimated on clean pairs. "
        "Whatever changes here is not the work of a repair.",
    ),
}


class AttackLine(NamedTuple):
    """One attack on an objective's card."""

    attack: str
    status: str  # "" where it planted
    accuracy: str
    asr: str
    best: str  # repair with the best row at its defaults
    best_numbers: str
    oracle: str  # CA / ASR of the headline's repair under the oracle rule


class ObjectiveCard(NamedTuple):
    """One pre-training objective at a glance."""

    title: str
    clean_accuracy: str  # of the clean twin
    lines: list[AttackLine]


def objective_cards(
    cells: Frame, names: Names, *, bound: float | None, rate: str, searched: str | None
) -> list[ObjectiveCard]:
    """Cards in the suite's order. `rate` is the column that the bound is on."""
    cards = []
    for objective in dict.fromkeys(cells["objective"]):
        own = cells[cells["objective"] == objective]
        attacks = [attack for attack in dict.fromkeys(own["attack"]) if attack != "none"]
        lines = [_attack_line(own, objective, attack, names, (bound, rate, searched)) for attack in attacks]
        twin = percent(at(own, objective, "none", "none", "undefended")["clean_accuracy"].mean())
        cards.append(ObjectiveCard(names.objective[objective], twin, lines))
    return cards


def _attack_line(
    cells: Frame, objective: str, attack: str, names: Names, rule: tuple[float | None, str, str | None]
) -> AttackLine:
    bound, rate, searched = rule
    start = at(cells, objective, attack, "none", "undefended")
    off = [status for status in start["status"] if status != "ok"]
    best, numbers, oracle = NO_VALUE, "", NO_VALUE
    if not off:
        best, numbers = best_default(cells[cells["attack"] == attack], names, bound=bound, rate=rate)
    if searched and not off:
        rows = at(cells, objective, attack, searched, "oracle")
        found = rows["clean_accuracy"].notna().any()
        oracle = _pair(rows) if found else ", ".join(dict.fromkeys(rows["status"])).replace("_", " ") or NO_VALUE
    return AttackLine(
        names.attack[attack],
        off[0].replace("_", " ") if off else "",
        percent(start["clean_accuracy"].mean()),
        percent(start["attack_success_rate"].mean()),
        best,
        numbers,
        oracle,
    )


def _pair(rows: Frame) -> str:
    return f"{percent(rows['clean_accuracy'].mean())} / {percent(rows['attack_success_rate'].mean())}"


def best_default(cells: Frame, names: Names, *, bound: float | None, rate: str) -> tuple[str, str]:
    """The repair that keeps most clean accuracy within the bound, all at default hyper-parameters.

    Only repairs that are finished for every seed take part. Where none is within the bound, nothing is best, and the
    lowest ASR is named instead.

    Returns:
        Title, and "CA / ASR" as means over seeds.
    """
    rows = cells[cells["selection"] == "default"]
    finished = rows.groupby("repair", sort=False).filter(lambda group: bool((group["status"] == "ok").all()))
    columns = list(dict.fromkeys(["clean_accuracy", "attack_success_rate", rate]))
    means = finished.groupby("repair", sort=False)[columns].mean().dropna()
    if means.empty or bound is None:
        return NO_VALUE, ""
    within = means[means[rate] <= bound + 1e-9]
    if within.empty:
        chosen = means.loc[means[rate].idxmin()]
        return f"none within the bound; lowest ASR: {names.repair[str(chosen.name)]}", _numbers(chosen)
    chosen = within.loc[within["clean_accuracy"].idxmax()]
    return names.repair[str(chosen.name)], _numbers(chosen)


def _numbers(means: Frame) -> str:
    return f"{percent(means['clean_accuracy'])} / {percent(means['attack_success_rate'])}"


class ControlRow(NamedTuple):
    """What a control changes: points of CA and ASR against the undefended model, mean over seeds."""

    objective: str
    attack: str
    repair: str
    accuracy: Number
    asr: Number
    status: str


def control_rows(cells: Frame, names: Names) -> list[ControlRow]:
    """Changes under the controls on attacked models, and of the clean twin under every repair at its defaults."""
    keys = ["objective", "attack", "seed"]
    columns = ["clean_accuracy", "attack_success_rate"]
    start = cells.loc[cells["selection"] == "undefended", [*keys, *columns, "status"]]
    start = start.rename(columns={name: f"{name}_0" for name in (*columns, "status")})
    rows = cells[cells["selection"] == "default"]
    control = rows["repair"].map(lambda label: split(label)[0] in CONTROL_TEXTS)
    rows = rows[(rows["attack"] == "none") | control].merge(start, on=keys, how="left")
    found = []
    for (objective, attack, repair), group in rows.groupby(["objective", "attack", "repair"], sort=False):
        accuracy, asr = (_points((group[column] - group[f"{column}_0"]).mean()) for column in columns)
        statuses = dict.fromkeys([*group["status_0"], *group["status"]])
        status = ", ".join(str(name).replace("_", " ") for name in statuses if name != "ok")
        labels = names.objective[objective], names.attack[attack], names.repair[repair]
        found.append(ControlRow(*labels, accuracy, asr, status))
    return found


def _points(change: float) -> Number:
    return Number(signed(change), float(change) if known(change) else None)


def facts(value: Any) -> list[tuple[str, str]]:
    """Flattens a JSON value into (dotted name, text) lines."""
    if isinstance(value, Mapping):
        return [(f"{plain(key)}.{name}".rstrip("."), text) for key, part in value.items() for name, text in facts(part)]
    if isinstance(value, (list, tuple)):
        return [("", ", ".join(_text(part) for part in value))]
    return [("", _text(value))]


def _text(value: Any) -> str:
    if value is None:
        return NO_VALUE
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else plain(value)
