"""How long a task may take, by stage: what hangs becomes `timed_out` instead of a run without an end."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from benchmark.errors import must, unknown

TimeLimits = Mapping[str, float]  # stage -> seconds; EVERY: of stages that are not named
EVERY = ""
SECONDS = {"s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_PART = re.compile(r"(\d+(?:\.\d+)?)\s*(min|[smhd])")
_REMEDY = "e.g. 12h, pretrain=2d or 1h30m"


def read_time_limits(texts: Iterable[str], stages: Iterable[str]) -> dict[str, float]:
    """`12h` for every stage, `pretrain=2d` for one, as seconds by stage.

    Args:
        texts: what was given; of one stage the last counts.
        stages: names that there are.

    Raises:
        UserError: another stage, or no duration.
    """
    found: dict[str, float] = {}
    for text in texts:
        stage, equals, duration = text.rpartition("=")
        if equals and stage not in (known := sorted(set(stages))):
            raise unknown("stage of --time-limit", stage, known)
        found[stage if equals else EVERY] = seconds_of(duration)
    return found


def seconds_of(text: str) -> float:
    """`90s`, `1h30m`, `2d` in seconds.

    Raises:
        UserError: anything else, or nothing.
    """
    parts = _PART.findall(text)
    seconds = sum(float(number) * SECONDS[unit] for number, unit in parts)
    if _PART.sub("", text).strip() or seconds <= 0:
        raise must("--time-limit", "a duration of days, hours, minutes or seconds", text, _REMEDY)
    return seconds


def limit_of(limits: TimeLimits, stage: str) -> float | None:
    """Seconds that a task of a stage may take; None: as long as it takes."""
    return limits.get(stage, limits.get(EVERY))


def too_long(seconds: float) -> str:
    """Why something was given up."""
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"no result within {seconds / size:.3g} {unit}"
    return f"no result within {seconds:.3g} s"
