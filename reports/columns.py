"""Columns of a table as JSON that stays small: one value, a list of codes, or a list."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

DIGITS = 6  # of a share: less than one in a million samples
FEW = 0.25  # share of different values up to which codes are shorter


def encode(values: Sequence[Any]) -> dict[str, Any]:
    """A column: `{"all": value}`, `{"of": values, "at": codes}` or `{"list": values}`; NaN becomes null."""
    clean = [_clean(value) for value in values]
    different = list(dict.fromkeys(clean))
    if len(different) < 2:
        return {"all": different[0] if different else None}
    if len(different) <= max(2, FEW * len(clean)):
        codes = {value: code for code, value in enumerate(different)}
        return {"of": different, "at": [codes[value] for value in clean]}
    return {"list": clean}


def decode(column: dict[str, Any], length: int) -> list[Any]:
    """The values of a column again."""
    if "all" in column:
        return [column["all"]] * length
    return [column["of"][code] for code in column["at"]] if "at" in column else list(column["list"])


def _clean(value: Any) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if not isinstance(value, float):
        return value
    if not math.isfinite(value):
        return None
    short = round(value, DIGITS)
    return int(short) if short.is_integer() else short


def script_json(value: Any) -> str:
    """JSON that may stand in a script element or a file of JavaScript: no `<`, `>`, `&` and no line separators."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for char in "<>&\u2028\u2029":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return text
