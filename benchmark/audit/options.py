"""The command's small language: FIELD=VALUE, and NAME[:FIELD=VALUE,…] for a method. Nothing heavy is imported."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from benchmark.config import registry
from benchmark.errors import UserError, must
from benchmark.types import Method


def literal(text: str) -> Any:
    """A value: JSON where it parses as JSON, else text."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def assigned(texts: Sequence[str], option: str) -> dict[str, str]:
    """FIELD=VALUE, several times.

    Raises:
        UserError: one of them is not.
    """
    found = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise must(option, "FIELD=VALUE", text, "e.g. image=img")
        found[name.strip()] = value
    return found


def method(kind: str, text: str) -> Method:
    """Builds `NAME[:FIELD=VALUE,…]`; a comma within a value is kept where no `FIELD=` follows it.

    Raises:
        UserError: an unknown name or field, or a bad value.
    """
    name, _, fields = text.partition(":")
    parts = [part for part in re.split(r",(?=[A-Za-z_]\w*=)", fields) if part]
    values = assigned(parts, f"--{kind} {name}")
    found = registry.build(
        kind, registry.by_class_name(kind, name), {key: literal(value) for key, value in values.items()}
    )
    if kind == "detector" and getattr(found, "unit", "") != "model":
        raise UserError(
            f"--detector {name} must be a detector of models, got one of {getattr(found, 'unit', 'something else')}s; "
            f"choose {' or '.join(model_detectors())}"
        )
    return found


def model_detectors() -> list[str]:
    """Names of the detectors that judge a model as a whole."""
    return [
        name for name in registry.names("detector") if getattr(registry.method("detector", name), "unit", "") == "model"
    ]
