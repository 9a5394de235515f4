"""The command's small language: `FIELD=VALUE`, and `NAME:FIELD=VALUE,…` for a method. One parser for every option."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from benchmark.errors import must

_FIELD = re.compile(r"[A-Za-z_]\w*=")
_OPENS, _CLOSES = "[{", "]}"


def literal(text: str) -> Any:
    """A value: JSON where it parses as JSON, else text."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def assignment(text: str, option: str, *, form: str = "FIELD=VALUE", example: str) -> tuple[str, str]:
    """Cuts `FIELD=VALUE` at its first equals sign.

    Raises:
        UserError: there is none, or nothing before it; the text says the option, its form and the example.
    """
    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        raise must(option, form, text, f"e.g. {example}")
    return name.strip(), value


def named(text: str, option: str = "") -> tuple[str, dict[str, Any]]:
    """Reads `NAME[:FIELD=VALUE,…]`: the name, and the fields with their values.

    A comma belongs to a value where it stands inside its brackets or double quotes, or where no `FIELD=` follows it.

    Args:
        text: what the user wrote.
        option: what it was written after ("--detector ", "--add attack="); stands in the messages.

    Raises:
        UserError: a part that is no assignment, or a bracket or quote that nothing closes.
    """
    name, _, fields = text.partition(":")
    whole = option.rstrip(" =") or name
    parts = [assignment(part, option + name, example=f"{name}:FIELD=VALUE") for part in _parts(fields, whole)]
    return name.strip(), {field: literal(value) for field, value in parts}


def _parts(text: str, option: str) -> Iterator[str]:
    """Cuts at the commas that part assignments."""
    begin = depth = at = 0
    quoted = False
    while at < len(text):
        sign = text[at]
        if quoted:
            at += sign == "\\"  # what is escaped cannot close
            quoted = sign != '"'
        elif sign == '"':
            quoted = True
        elif sign == "," and not depth and _FIELD.match(text, at + 1):
            yield text[begin:at]
            begin = at + 1
        else:
            depth += (sign in _OPENS) - (sign in _CLOSES)
        at += 1
    if quoted or depth:
        raise must(option, "closed where it opens a quote or bracket", text, "write such a value as JSON")
    if text[begin:]:
        yield text[begin:]
