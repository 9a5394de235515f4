"""Pydantic's complaints as one line that names place, rule, value and remedy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from benchmark.errors import UserError, unknown

T = TypeVar("T", bound=BaseModel)


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
        raise UserError(_one_line(model, error, place, inline=inline)) from None


def _one_line(model: type[BaseModel], error: ValidationError, place: str, *, inline: bool) -> str:
    first = error.errors()[0]
    cause = first.get("ctx", {}).get("error")
    where = ".".join(str(part) for part in first["loc"])
    # `--set pretrain.epochs` names the field already; a rule about several fields has no place of its own
    whole = not where or place.endswith((f".{where}", f" {where}"))
    spot = place if whole else f"{place}{':' if inline else '.'}{where}"
    if first["type"] == "extra_forbidden":
        owner = _model_at(model, first["loc"][:-1])
        return f"{place}: {unknown('field', str(first['loc'][-1]), owner.model_fields)}"
    if first["type"] == "missing":
        return f"{spot} must be given; {f'write {spot}=…' if inline else 'set it with --set or in the suite'}"
    if isinstance(cause, UserError):  # a part that was read by itself has said all
        return f"{spot}: {cause}"
    rule = first["msg"].replace("String should ", "text that should ")
    rule = rule.removeprefix("Input should be ").removeprefix("Value error, ")
    remedy = "change it there" if inline else "change it with --set or in the suite"
    return f"{spot} must be {rule}, got {first['input']!r}; {remedy}"


def _model_at(model: type[BaseModel], path: tuple[Any, ...]) -> type[BaseModel]:
    for part in path:
        field = model.model_fields.get(str(part))
        inner = getattr(field, "annotation", None)
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            model = inner
    return model
