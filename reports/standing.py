"""What did not run or does not count, and why: statuses with their reasons, and the methods and models they concern."""

from __future__ import annotations

from typing import NamedTuple, cast

import pandas as pd

from reports.compile import Frame
from reports.grid import TONES, Names
from reports.labels import plain


class Reason(NamedTuple):
    """One status with one reason, over the cells that share it."""

    status: str
    tone: str
    reason: str
    methods: list[str]
    models: list[str]  # objective and attack
    rows: int


def reasons(cells: Frame, detections: Frame, names: Names) -> list[Reason]:
    """Every row that is not ok, by status and reason; each entry is exact: all its methods on all its models."""
    columns = ["status", "reason", "objective", "attack", "repair", "detector", "seed", "selection"]
    rows = pd.concat([cells[columns], detections[columns]], ignore_index=True)
    found: dict[tuple[str, str, tuple[tuple[str, str], ...]], dict[str, int]] = {}
    off = rows[rows["status"] != "ok"]
    for labels, group in off.groupby(["status", "reason", "repair", "detector"], sort=False):
        status, reason, repair, detector = cast(tuple[str, ...], labels)
        models = tuple(dict.fromkeys(zip(group["objective"], group["attack"], strict=True)))
        methods = found.setdefault((status, reason, models), {})
        methods[_method(repair, detector, names)] = len(group)
    entries = [
        Reason(
            status.replace("_", " "),
            TONES.get(status, "bad"),
            plain(reason),
            list(methods),
            _models(rows, models, names),
            sum(methods.values()),
        )
        for (status, reason, models), methods in found.items()
    ]
    order = ("bad", "warn", "quiet")
    return sorted(entries, key=lambda entry: (order.index(entry.tone), entry.status))


def _method(repair: str, detector: str, names: Names) -> str:
    if detector != "none":
        return names.detector[detector]
    return names.repair[repair] if repair != "none" else "undefended"


def _models(rows: Frame, models: tuple[tuple[str, str], ...], names: Names) -> list[str]:
    """`MMCL: BadNet, SIG`, objective by objective."""
    said = []
    for objective in dict.fromkeys(objective for objective, _ in models):
        mine = [attack for name, attack in models if name == objective]
        every = set(rows.loc[rows["objective"] == objective, "attack"])
        listed = ["clean twin" if attack == "none" else names.attack[attack] for attack in mine]
        whole = f"all {len(every)} models" if len(every) > 2 and set(mine) == every else ", ".join(listed)
        said.append(f"{names.objective[objective]}: {whole}")
    return said
