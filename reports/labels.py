"""How names and numbers are written on the board and in figures: titles of methods, percentages, signs."""

from __future__ import annotations

import math
import re
import textwrap
import unicodedata
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import TypeGuard

RULES: Mapping[str, str] = {
    "undefended": "undefended",
    "default": "default",
    "oracle": "oracle",
    "trigger_blind": "trigger-blind",
}
READOUTS: Mapping[str, str] = {
    "zero_shot": "zero-shot",
    "probe": "linear probe",
    "knn": "nearest neighbours (kNN)",
    "retrieval_image_to_text": "image → text",
    "retrieval_text_to_image": "text → image",
    "retrieval_target": "captions of the target",
    "similarity": "geometry",
}
MEASURES: Mapping[str, str] = {
    "clean_accuracy": "CA",
    "attack_success_rate": "ASR",
    "poisoned_accuracy": "PA",
    "floor": "floor",
    "repaired_floor": "repaired floor",
    "net_asr": "net ASR",
}
NO_VALUE = "–"


def off_words(statuses: Iterable[str]) -> str:
    """The statuses that are not ok, once each, in words; "" where all are."""
    return ", ".join(dict.fromkeys(str(status).replace("_", " ") for status in statuses if status != "ok"))


def outside_note(accuracy: float) -> str:
    """How good the model from outside is that an attack or a defense used; "" where there is none."""
    return f"model from outside: CA {percent(accuracy)}" if known(accuracy) else ""


def plain(text: object) -> str:
    """A text without control characters, which neither XML nor a page can hold."""
    return "".join(char for char in str(text) if unicodedata.category(char) not in ("Cc", "Cs"))


def split(label: str) -> tuple[str, str]:
    """Splits a label such as `badnet(size=4)` into the method's name and its fields."""
    name, _, fields = plain(label).partition("(")
    return name, fields.removesuffix(")")


def settings(label: str, defaults: Mapping[str, str] = MappingProxyType({})) -> str:
    """The fields of a label, in words: those that differ from the method's own defaults, with these where known."""
    parts = ((part, defaults.get(part.partition("=")[0])) for part in _fields(split(label)[1]))
    return ", ".join(part if default is None else f"{part} (default {default})" for part, default in parts)


def with_field(label: str, field: str) -> str:
    """A label with one more field: `mmcl`, `model=tiny-vit` to `mmcl(model=tiny-vit)`."""
    name, fields = split(label)
    return f"{name}({','.join(filter(None, (fields, field)))})"


def titles(labels: Iterable[str], by_name: Mapping[str, str] = MappingProxyType({})) -> dict[str, str]:
    """Labels that stand side by side as people write them: `mmcl-ssl(weight=2)` becomes `MMCL+SSL`.

    Where bare names coincide, the fields that differ are named too.

    Args:
        labels: of methods of one kind.
        by_name: titles on the methods' cards; a method without one goes by its name.
    """
    unique = list(dict.fromkeys(labels))
    alike: dict[str, list[str]] = {}
    for label in unique:
        name = split(label)[0]
        alike.setdefault(by_name.get(name, name), []).append(label)
    found = {}
    for name, group in alike.items():
        fields = {label: _fields(split(label)[1]) for label in group}
        shared = set.intersection(*map(set, fields.values())) if len(group) > 1 else set(fields[group[0]])
        short = {label: _with_fields(name, [part for part in fields[label] if part not in shared]) for label in group}
        distinct = len(set(short.values())) == len(group)
        found |= short if distinct else {label: _with_fields(name, fields[label]) for label in group}
    return {label: found[label] for label in unique}


def _fields(text: str) -> list[str]:
    """`a=1,b=[1, 2]` as its parts."""
    return re.split(r",(?=[A-Za-z_]\w*=)", text) if text else []


def _with_fields(name: str, fields: Iterable[str]) -> str:
    listed = ", ".join(fields)
    return f"{name} ({listed})" if listed else name


def known(value: float | None) -> TypeGuard[float]:
    """Whether a number is there: neither None nor NaN."""
    return value is not None and math.isfinite(value)


def percent(value: float | None, digits: int = 1) -> str:
    """A share as a percentage without the sign, e.g. `95.2`; a dash where there is none."""
    return f"{_unsigned_zero(100 * value, digits):.{digits}f}".replace("-", "−") if known(value) else NO_VALUE


def signed(value: float | None, digits: int = 1) -> str:
    """A difference of shares in percent with its sign, e.g. `+3.1` or `−45.3`; a dash where there is none."""
    if not known(value):
        return NO_VALUE
    number = _unsigned_zero(100 * value, digits)
    return f"{number:+.{digits}f}".replace("-", "−") if number else f"±{0:.{digits}f}"


def seconds(value: float | None) -> str:
    """A duration for people: `8.2 s`, `3 min 20 s`, `1 h 04 min`."""
    if not known(value):
        return NO_VALUE
    if value < 99.5:
        return f"{value:.1f} s" if value < 10 else f"{value:.0f} s"
    minutes, rest = divmod(round(value), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def wrap(text: str, width: int = 26) -> str:
    """A text on up to three lines for a figure, broken between words; only what is longer than that is cut."""
    lines = textwrap.wrap(
        text, width, break_long_words=False, break_on_hyphens=False, max_lines=3, placeholder="\u00a0…"
    )
    return "\n".join(shorten(line, 2 * width) for line in lines)


def shorten(text: str, length: int = 26) -> str:
    """A text cut to fit into a figure."""
    return text if len(text) <= length else text[: length - 1] + "…"


def _unsigned_zero(number: float, digits: int) -> float:
    return 0.0 if round(number, digits) == 0 else number
