"""The search space of a repair: ranges written beside its fields, checked, and values put back into it."""

from __future__ import annotations

import functools
import types
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from benchmark.errors import must, unknown
from benchmark.types import Choices, Method, Range, Repair
from benchmark.validation import validated

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

M = TypeVar("M", bound=BaseModel)
R = TypeVar("R", bound=Repair)
_NARROW = "give values that the field itself accepts"


def ranges(
    method: Method | type[Method], overrides: Mapping[str, Range | Choices] | None = None
) -> dict[str, Range | Choices]:
    """Reads the search ranges of a method's own fields and lays a suite's overrides over them.

    Fields of nested models have dotted names (`training.learning_rate`). Ranges of int fields come back with int
    bounds, all others with float bounds, so that `distributions` needs no second look at the method.

    Args:
        method: the method, or its class.
        overrides: field -> range; replaces the range beside that field or adds one.

    Returns:
        field -> range, sorted by field.

    Raises:
        UnknownNameError: an override names no field of the method.
        UserError: a range whose field is no number, or whose ends the field itself refuses.
    """
    fields = dict(_fields(method))
    found = {name: mark for name, info in fields.items() if (mark := _mark(info)) is not None}
    for name in overrides or {}:
        if name not in fields:
            raise unknown(f"field of {method.name} in its search space:", name, fields)
    found |= dict(overrides or {})
    return {
        name: _checked(f"search space of {method.name}: {name}", fields[name], found[name]) for name in sorted(found)
    }


def distributions(space: Mapping[str, Range | Choices]) -> dict[str, BaseDistribution]:
    """Turns checked ranges into Optuna's distributions, sorted by field: int bounds give an int distribution."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    found: dict[str, BaseDistribution] = {}
    for name, mark in sorted(space.items()):
        if isinstance(mark, Choices):
            found[name] = CategoricalDistribution(mark.options)
        elif isinstance(mark.low, int) and isinstance(mark.high, int):
            found[name] = IntDistribution(mark.low, mark.high, log=mark.log)
        else:
            found[name] = FloatDistribution(mark.low, mark.high, log=mark.log)
    return found


def apply(repair: R, parameters: Mapping[str, Any]) -> R:
    """Returns a validated copy of a repair with the given fields (dotted where nested) replaced.

    Raises:
        UserError: an unknown field or a value that the field refuses.
    """
    return _updated(repair, parameters, place=f"repair {repair.name}")


def values(method: Method, names: Iterable[str]) -> dict[str, Any]:
    """The values that a method has now in the named (dotted) fields, sorted by name."""
    return {name: _value(method, name) for name in sorted(names)}


def strength(repair: Repair) -> float | None:
    """The value of the field that a repair declares as its strength; None where it declares none."""
    if repair.strength is None:
        return None
    value = _value(repair, repair.strength)
    return None if value is None else float(value)


def check_strength(repair: Repair) -> None:
    """Refuses a declared strength that is no number of the repair.

    Raises:
        UserError: lists the fields that are.
    """
    try:
        strength(repair)
    except (AttributeError, TypeError, ValueError):
        numbers = [name for name, info in _fields(repair) if _number(info.annotation)]
        rule = f"one of its number fields ({', '.join(numbers) or 'it has none'}) or None"
        raise must(f"strength of repair {repair.name}", rule, repair.strength, "mend its class") from None


def _value(method: BaseModel, name: str) -> Any:
    value: Any = method
    for part in name.split("."):
        value = getattr(value, part)
    return value


def _updated(model: M, parameters: Mapping[str, Any], *, place: str) -> M:
    fields = {name: getattr(model, name) for name in type(model).model_fields}
    nested: dict[str, dict[str, Any]] = {}
    for path, value in parameters.items():
        head, _, rest = path.partition(".")
        if rest and isinstance(fields.get(head), BaseModel):
            nested.setdefault(head, {})[rest] = value
        else:
            fields[path] = value
    for head, inner in nested.items():
        fields[head] = _updated(fields[head], inner, place=f"{place}.{head}")
    return validated(type(model), fields, place=place)


def _fields(model: BaseModel | type[BaseModel], prefix: str = "") -> Iterable[tuple[str, FieldInfo]]:
    """Every leaf field with its dotted name; nested models are found by value, or by annotation on a class."""
    owner = model if isinstance(model, type) else type(model)
    for name, info in owner.model_fields.items():
        inner = info.annotation if isinstance(model, type) else getattr(model, name)
        is_model = isinstance(inner, BaseModel) or (isinstance(inner, type) and issubclass(inner, BaseModel))
        if is_model:
            yield from _fields(inner, f"{prefix}{name}.")  # type: ignore[arg-type]
        else:
            yield f"{prefix}{name}", info


def _mark(info: FieldInfo) -> Range | Choices | None:
    return next((item for item in info.metadata if isinstance(item, (Range, Choices))), None)


def _checked(place: str, info: FieldInfo, mark: Range | Choices) -> Range | Choices:
    if isinstance(mark, Choices):
        return _checked_choices(place, info, mark)
    number = _number(info.annotation)
    if number is None:
        raise must(place, "a numeric field where a Range is given", info.annotation, "use Choices")
    low, high = (_bound(place, info, number, end) for end in (mark.low, mark.high))
    return Range(low, high, bool(mark.log))


def _bound(place: str, info: FieldInfo, number: type[int] | type[float], end: float) -> float:
    if number is int and not float(end).is_integer():
        raise must(place, "whole at both ends, as the field is an int", end, "round it")
    _accepts(place, info, number(end))
    return number(end)


def _checked_choices(place: str, info: FieldInfo, mark: Choices) -> Choices:
    options = tuple(mark.options)
    if not options or len({repr(option) for option in options}) < len(options):
        raise must(place, "at least one option, each named once", options, "list different options")
    for option in options:
        if not isinstance(option, (str, int, float, bool, type(None))):
            raise must(place, "a choice of numbers, texts, booleans or None", option, "use plain values")
        _accepts(place, info, option)
    return Choices(options)


def _accepts(place: str, info: FieldInfo, value: Any) -> None:
    """Asks the field's own type and bounds."""
    try:
        _adapter(info).validate_python(value)
    except ValidationError as error:
        rule = error.errors()[0]["msg"].removeprefix("Input should be ").removeprefix("Value error, ")
        raise must(place, rule, value, _NARROW) from None


@functools.cache  # a thousand searches ask the same few fields
def _adapter(info: FieldInfo) -> TypeAdapter[Any]:
    return TypeAdapter(Annotated[info.annotation, *info.metadata])  # type: ignore[valid-type]


def _number(annotation: Any) -> type[int] | type[float] | None:
    """`int` or `float` for a numeric field, also an optional one; None for any other."""
    if get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    if get_origin(annotation) in (Union, types.UnionType):
        kinds = {_number(part) for part in get_args(annotation)} - {None}
        return float if float in kinds else int if int in kinds else None
    return annotation if annotation in (int, float) else None
