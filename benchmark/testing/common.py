"""Contract of every method, whatever its kind: named, documented, frozen, and the same after any round trip."""

from __future__ import annotations

import pickle
import re
import sys
from collections.abc import Iterator, Mapping
from typing import Any, Literal, TypeVar, get_args, get_origin

from pydantic import ValidationError
from pydantic_core import PydanticUndefined

from benchmark.errors import UserError
from benchmark.store.keys import canonical_json, digest
from benchmark.testing.contract import Broken, Check, Checks, require
from benchmark.types import Card, Method, Range
from benchmark.validation import validated

M = TypeVar("M", bound=Method)
# Values for required fields that the kit can know: the tiny set of the kit has a class of this name.
TARGET = "square"
_KNOWN_FIELDS: Mapping[str, Any] = {"target": TARGET}
_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


def example(cls: type[Method], fields: Mapping[str, Any]) -> Method:
    """Builds a method from the given fields; required ones that the kit knows are filled in.

    Raises:
        UserError: the fields do not fit.
        Broken: a required field is missing that the kit does not know.
    """
    required = [name for name, field in cls.model_fields.items() if field.is_required() and name not in fields]
    missing = [name for name in required if name not in _KNOWN_FIELDS]
    require(not missing, f"fields {missing} must have defaults, or be given to check_method as `fields`")
    return validated(cls, {name: _KNOWN_FIELDS[name] for name in required} | dict(fields), place=cls.name)


def limited(method: M, limits: Mapping[str, int]) -> M:
    """The method with those of its fields that `limits` names at most as large."""
    own = type(method).model_fields
    fields = {name: min(value, getattr(method, name)) for name, value in limits.items() if name in own}
    return validated(type(method), dict(method) | fields, place=method.name)


def common_checks(cls: type[Method], fields: Mapping[str, Any]) -> Checks:
    """Checks of every kind; the first ones need no instance."""
    yield Check("name", lambda: _name(cls))
    yield Check("card", lambda: _card(cls))
    yield Check("docstrings", lambda: _docstrings(cls))
    yield Check("builds", lambda: example(cls, fields).label)
    try:
        method = example(cls, fields)
    except (UserError, Broken):
        return  # "builds" has failed and says why
    yield Check("needs what its card names", lambda: _needs(method))
    yield Check("frozen", lambda: _frozen(method))
    yield Check("search ranges", lambda: _ranges(method))
    yield Check("unknown field refused", lambda: _unknown_field(method))
    yield Check("JSON round trip", lambda: _json(method))
    yield Check("pickles", lambda: _pickles(method))
    yield Check("identity is stable", lambda: _identity_stable(method))
    yield Check("identity changes with a field", lambda: _identity_changes(method))


def _name(cls: type[Method]) -> str:
    require(
        bool(cls.kind), f"{cls.__name__} must be a subclass of Dataset, Objective, Attack, Repair, Detector or Metric"
    )
    require(bool(_NAME.fullmatch(cls.name)), f"name must be lower-case words joined by '-', got {cls.name!r}")
    require(cls.version >= 1, f"version must be 1 or more, got {cls.version}")
    return f"{cls.kind} {cls.name}"


def _card(cls: type[Method]) -> str:
    card = getattr(cls, "card", None)
    require(isinstance(card, Card), f"card must be a benchmark.types.Card, got {card!r}")
    assert isinstance(card, Card)
    for part in ("title", "citation", "summary"):
        require(bool(getattr(card, part).strip()), f"card.{part} must be given, got {getattr(card, part)!r}")
    return f"{card.title}, {card.citation}"


def _needs(method: Method) -> str:
    beyond = sorted(method.needs - method.card.needs)
    require(not beyond, f"needs must be named by the card, got {beyond} besides; add them to card.needs")
    return ", ".join(sorted(method.needs))


def _docstrings(cls: type[Method]) -> str:
    require("__doc__" in vars(cls) and bool((cls.__doc__ or "").strip()), f"{cls.__name__} must have a docstring")
    module = sys.modules.get(cls.__module__)
    require(bool(module and module.__doc__), "the method's file must open with a docstring that says what it is")
    return ""


def _frozen(method: Method) -> str:
    require(bool(type(method).model_config.get("frozen")), "model_config must keep frozen=True")
    for name, value in method:
        try:
            hash(value)
        except TypeError:
            if method.kind != "dataset":  # a data set may map names, and no key is taken of its hash
                raise Broken(f"field {name!r} must be immutable, got a {type(value).__name__}; use a tuple") from None
    name = next(iter(type(method).model_fields), "something")
    try:
        setattr(method, name, getattr(method, name, 1))
    except (ValidationError, AttributeError, ValueError):
        return ""
    raise Broken(f"field {name!r} must be read-only, but it could be set")


def _ranges(method: Method) -> str:
    """Both ends of a field's search range must be values of the field, or a search would propose what is refused."""
    ranges = [
        (name, item) for name, f in type(method).model_fields.items() for item in f.metadata if isinstance(item, Range)
    ]
    for name, item in ranges:
        for end in (item.low, item.high):
            try:
                type(method)(**dict(method) | {name: end})
            except ValidationError:
                raise Broken(
                    f"Range of {name!r} must end in values of the field, got {end:g}, which it refuses"
                ) from None
    return ", ".join(name for name, _ in ranges)


def _unknown_field(method: Method) -> str:
    try:
        type(method)(**dict(method) | {"no_such_field": 1})
    except ValidationError:
        return ""
    raise Broken("an unknown field must be refused (extra='forbid'), but no_such_field was accepted")


def _json(method: Method) -> str:
    text = method.model_dump_json()
    again = type(method).model_validate_json(text)
    require(again == method, f"model_validate_json(model_dump_json()) must equal the method, got {again!r}")
    return text


def _pickles(method: Method) -> str:
    again = pickle.loads(pickle.dumps(method))
    require(again == method, f"a pickled copy must equal the method, got {again!r}")
    return ""


def key_of(method: Method) -> str:
    """Hash of a method's identity."""
    return digest(canonical_json(method.identity()))


def _identity_stable(method: Method) -> str:
    key = key_of(method)
    require(key_of(method) == key, "identity() must give the same value each time")
    require(key_of(type(method).model_validate_json(method.model_dump_json())) == key, "identity() must survive JSON")
    require(key_of(method.model_copy()) == key, "identity() must be equal for equal methods")
    named = method.identity()
    require(named.get("name") == method.name, f"identity() must hold the name, got {named}")
    require(named.get("version") == method.version, f"identity() must hold the version, got {named}")
    return key


def _identity_changes(method: Method) -> str:
    """A data set may leave out where its files lie; every other field of every other kind may change results."""
    changed = [(name, other) for name, other in variants(method) if _has_identity(other)]
    blind = [name for name, other in changed if key_of(other) == key_of(method)]
    if method.kind == "dataset":
        require(not changed or len(blind) < len(changed), "identity() must change with at least one field")
        return f"left out: {', '.join(blind)}" if blind else ""
    require(not blind, f"identity() must change with every field, but not with {blind}")
    return f"{len(changed)} of {len(type(method).model_fields)} fields tried"


def _has_identity(method: Method) -> bool:
    """Whether the fields name something: a data set looks at its files, and another path or split may not be there."""
    try:
        method.identity()
    except UserError:
        return method.kind != "dataset"
    return True


def variants(method: Method) -> Iterator[tuple[str, Method]]:
    """For each field for which another valid value is found: the field's name and the method with that value."""
    cls, fields = type(method), dict(method)
    for name, field in cls.model_fields.items():
        for value in _other_values(fields[name], field.annotation, field.default):
            try:
                other = cls(**fields | {name: value})
            except ValidationError:
                continue
            if other != method:
                yield name, other
                break


def _other_values(value: Any, annotation: Any, default: Any) -> Iterator[Any]:
    if get_origin(annotation) is Literal:
        yield from (option for option in get_args(annotation) if option != value)
    elif isinstance(value, bool):
        yield not value
    elif isinstance(value, int):
        yield from (value + 1, value - 1, value * 2)
    elif isinstance(value, float):
        yield from (value / 2, value * 1.5, value + 0.125)
    elif isinstance(value, str):
        yield from (f"{value}x", value[:-1])
    if default is not PydanticUndefined and default != value:
        yield default
