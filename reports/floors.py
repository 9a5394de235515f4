"""Attack success beside what it is measured from: the undefended twin's floor, and the repaired twin's."""

from __future__ import annotations

from typing import NamedTuple

from reports.compile import JUDGED, Frame
from reports.grid import Names
from reports.labels import percent, signed
from reports.matrix import seeds_there

_SHARES = ("attack_success_rate", "floor", "repaired_floor")


class FloorRow(NamedTuple):
    """One repair at its defaults on one attacked model, means over seeds."""

    shown: tuple[str, str, str]  # objective, attack, repair
    numbers: tuple[str, str, str, str]  # ASR, floor, floor of the repaired twin, net ASR
    seeds: str  # "1 of 3 seeds" where some are missing


def floor_rows(cells: Frame, names: Names) -> list[FloorRow]:
    """Every repair at its defaults that has an attack success rate."""
    rows = cells[cells["selection"] == "default"]
    found = []
    for (objective, attack, repair), own in rows.groupby(["objective", "attack", "repair"], sort=False):
        if own[f"{JUDGED}attack_success_rate"].isna().all():
            continue
        asr, floor, repaired = (percent(own[f"{JUDGED}{name}"].mean()) for name in _SHARES)
        shown = names.objective[str(objective)], names.attack[str(attack)], names.repair[str(repair)]
        net = signed(own[f"{JUDGED}net_asr"].mean())
        found.append(FloorRow(shown, (asr, floor, repaired, net), seeds_there(own)))
    return found
