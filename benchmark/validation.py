"""Pydantic's complaints as one line that names place, rule, value and remedy."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from benchmark.errors import UserError, unknown

T = TypeVar("T", bound=BaseModel)
# how pydantic calls one form of a field that has several; no field is called so
_FORM = re.compile(r"[a-z-]+\[.*\]")


def validated(model: type[T], fields: Mapping[str, Any], *, place: str, inline: bool = False) -> T:
    """Builds a model; the first pydantic complaint becomes one line that names place, rule, value and remedy.

    Args:
        model: what to build.
        fields: its fields.
        place: where they were written.
        inline: they were written as `place:FIELD=VALUE,…`, and are to be mended there.

    Raises:
        UserError: unknown field (with suggestions), wrong type, or a value out of range.
    """
    try:
        return model.model_validate(dict(fields))
    except ValidationError as error:
        raise UserError(one_line(error, place, model=model, inline=inline)) from None


def one_line(
    error: ValidationError,
    place: str,
    *,
    model: type[BaseModel] | None = None,
    inline: bool = False,
    remedy: str = "change it with --set or in the suite",
) -> str:
    """The first complaint as one line.

    Args:
        error: what pydantic said.
        place: where the fields were written.
        model: what was to be built; then an unknown field gets suggestions.
        inline: they were written as `place:FIELD=VALUE,…`, and are to be mended there.
        remedy: what to do about a bad value.
    """
    first = error.errors()[0]
    cause = first.get("ctx", {}).get("error")
    where = _beyond(place, [str(part) for part in first["loc"] if not _FORM.fullmatch(str(part))])
    spot = f"{place}{':' if inline else '.'}{where}" if where else place  # a rule about several fields has none
    if first["type"] == "extra_forbidden":
        owner = _model_at(model, first["loc"][:-1]).model_fields if model else ()
        told = unknown("field", str(first["loc"][-1]), owner) if owner else f"unknown field {first['loc'][-1]!r}"
        owned = _beyond(place, [str(part) for part in first["loc"][:-1]])
        return f"{place}.{owned}: {told}" if owned else f"{place}: {told}"
    if first["type"] == "missing":
        return f"{spot} must be given; {f'write {spot}=…' if inline else 'set it with --set or in the suite'}"
    if isinstance(cause, UserError):  # a part that was read by itself has said all
        return f"{spot}: {cause}"
    if first["type"] == "model_type":  # `model=tiny-vit`: a part is not set as a whole
        return f"{spot} must be set field by field, got {first['input']!r}; {_by_field(spot, first, model)}"
    if " must " in str(cause):
        return f"{spot}: {cause}; {'change it there' if inline else remedy}"
    return f"{spot} must be {_rule(first)}, got {first['input']!r}; {'change it there' if inline else remedy}"


def _beyond(place: str, parts: list[str]) -> str:
    """The part of a field's path that its place does not name already: `--set objectives` names `objectives`."""
    named = (
        count for count in range(len(parts), 0, -1) if re.search(rf"[. ]{re.escape('.'.join(parts[:count]))}$", place)
    )
    return ".".join(parts[next(named, 0) :])


def _rule(first: ErrorDetails) -> str:
    """Pydantic's rule in words that follow `must be`."""
    if first["type"] in ("tuple_type", "list_type"):
        return "a list, as [0, 1]"
    if first["type"] == "too_short":
        return f"a list of {first.get('ctx', {}).get('min_length')} or more"
    rule = first["msg"].replace("String should ", "text that should ")
    return rule.removeprefix("Input should be ").removeprefix("Value error, ")


def _by_field(spot: str, first: ErrorDetails, model: type[BaseModel] | None) -> str:
    """What to write instead: the name, where the part has one, else one of its fields."""
    fields = _model_at(model, first["loc"]).model_fields if model else {}
    if "name" in fields and isinstance(first["input"], str):
        return f"write {spot}.name={first['input']}"
    return f"write {spot}.FIELD=VALUE with one of {', '.join(fields) or 'its fields'}"


def _model_at(model: type[BaseModel], path: tuple[Any, ...]) -> type[BaseModel]:
    """The model that stands at a place inside another, through lists and optional parts."""
    for part in path:
        field = model.model_fields.get(str(part))
        inner = _models_in(field.annotation) if field else []
        model = inner[0] if inner else model
    return model


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [found for part in get_args(annotation) for found in _models_in(part)]
