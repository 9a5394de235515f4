"""How names and numbers are written on the board and in figures: titles of methods, percentages, signs."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterable, Mapping
from typing import TypeGuard

TITLES: Mapping[str, str] = {
    "none": "none",
    "mmcl": "MMCL",
    "mmcl-ssl": "MMCL+SSL",
    "ssl": "SSL",
    "badnet": "BadNet",
    "blended": "Blended",
    "wanet": "WaNet",
    "fine-tuning": "MMCL fine-tuning",
    "batch-norm-only": "BatchNorm only",
    "ssl-only": "SSL only",
    "cleanclip": "CleanCLIP",
}
RULES: Mapping[str, str] = {
    "undefended": "undefended",
    "default": "default",
    "oracle": "oracle",
    "trigger_blind": "trigger-blind",
}
READOUTS: Mapping[str, str] = {
    "zero_shot": "zero-shot",
    "probe": "linear probe",
    "knn": "kNN",
    "retrieval_image_to_text": "image → text",
    "retrieval_text_to_image": "text → image",
}
MEASURES: Mapping[str, str] = {
    "clean_accuracy": "CA",
    "attack_success_rate": "ASR",
    "poisoned_accuracy": "PA",
    "floor": "floor",
    "net_asr": "net ASR",
}
NO_VALUE = "–"


def plain(text: object) -> str:
    """A text without control characters, which neither XML nor a page can hold."""
    return "".join(char for char in str(text) if unicodedata.category(char) not in ("Cc", "Cs"))


def split(label: str) -> tuple[str, str]:
    """Splits a label such as `badnet(size=4)` into the method's name and its fields."""
    name, _, fields = plain(label).partition("(")
    return name, fields.removesuffix(")")


def title(label: str) -> str:
    """A label as people write it: `mmcl-ssl(weight=2)` becomes `MMCL+SSL (weight=2)`."""
    name, fields = split(label)
    known = TITLES.get(name, name)
    return f"{known} ({fields.replace(',', ', ')})" if fields else known


def titles(labels: Iterable[str]) -> dict[str, str]:
    """Titles for labels that stand side by side: fields are named only where the bare names would coincide."""
    unique = list(dict.fromkeys(labels))
    bare = [TITLES.get(split(label)[0], split(label)[0]) for label in unique]
    return {label: name if bare.count(name) == 1 else title(label) for label, name in zip(unique, bare, strict=True)}


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


def shortened(text: str, length: int = 26) -> str:
    """A text cut to fit into a figure."""
    return text if len(text) <= length else text[: length - 1] + "…"


def _unsigned_zero(number: float, digits: int) -> float:
    return 0.0 if round(number, digits) == 0 else number
