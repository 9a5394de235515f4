"""Names of fields: a `_rate` is a share in [0, 1], a learning rate says so; an old name is answered with the new."""

from __future__ import annotations

from typing import Any

import pytest

from benchmark.config import registry
from benchmark.config.spec import validated
from benchmark.errors import UserError

pytestmark = pytest.mark.unit
METHODS = [(kind, name) for kind in ("attack", "objective", "repair", "detector") for name in registry.names(kind)]


def allows(schema: Any, value: float) -> bool:
    """Whether a field's JSON schema lets a number through."""
    options = [part for part in schema.get("anyOf", [schema]) if part.get("type") == "number"]
    return any(
        part.get("minimum", value) <= value <= part.get("maximum", value)
        and part.get("exclusiveMinimum", value - 1) < value < part.get("exclusiveMaximum", value + 1)
        for part in options
    )


@pytest.mark.parametrize(("kind", "name"), METHODS)
def test_a_rate_that_is_no_learning_rate_is_a_share(kind: str, name: str) -> None:
    fields = registry.method(kind, name).model_json_schema()["properties"]
    rates = {field: schema for field, schema in fields.items() if field.endswith("_rate")}
    loose = [field for field, schema in rates.items() if allows(schema, 1.5) and not field.endswith("learning_rate")]
    assert loose == []


@pytest.mark.parametrize(
    ("kind", "name", "old", "new"),
    [
        ("repair", "par", "end_rate", "end_learning_rate"),
        ("repair", "par", "middle_rate_share", "middle_learning_rate_share"),
        ("repair", "invertune", "inversion_rate", "inversion_learning_rate"),
        ("repair", "invertune", "patch_rate", "patch_learning_rate"),
        ("objective", "abl", "unlearning_rate_share", "unlearning_learning_rate_share"),
    ],
)
def test_an_old_name_is_answered_with_the_new_one(kind: str, name: str, old: str, new: str) -> None:
    with pytest.raises(UserError, match=rf"unknown field '{old}'; did you mean .*\b{new}\b"):
        validated(registry.method(kind, name), {old: 0.5}, place=name)
