"""One parser for NAME:FIELD=VALUE,…: values are JSON where they parse, and commas may stand inside them."""

from __future__ import annotations

from typing import Any

import pytest

from benchmark.config.notation import assignment, named
from benchmark.errors import UserError

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("text", "name", "fields"),
    [
        ("par", "par", {}),
        ("par:", "par", {}),
        ("par:epochs=2", "par", {"epochs": 2}),
        ("par:epochs=2,learning_rate=1e-3", "par", {"epochs": 2, "learning_rate": 1e-3}),
        ("a:b=true,c=null,d=word,e=3:4", "a", {"b": True, "c": None, "d": "word", "e": "3:4"}),
        ('a:b=[1, 2],c={"d": [3, 4], "e": "x,f=1"},g=5', "a", {"b": [1, 2], "c": {"d": [3, 4], "e": "x,f=1"}, "g": 5}),
        ('a:b="one, c=two",d="said \\"x,y=1\\"",e=6', "a", {"b": "one, c=two", "d": 'said "x,y=1"', "e": 6}),
        ("a:b=a photo, blurred,c=1", "a", {"b": "a photo, blurred", "c": 1}),
        ("a:b=x=y", "a", {"b": "x=y"}),
    ],
)
def test_names_fields_and_values_are_read(text: str, name: str, fields: dict[str, Any]) -> None:
    assert named(text, "--add ") == (name, fields)


@pytest.mark.parametrize("text", ["a:b=[1,c=2", 'a:b="x,c=2', "a:b={1,c=]2}]", "a:b=1]"])
def test_what_is_left_open_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="--add must be closed where it opens a quote or bracket, got"):
        named(text, "--add ")


@pytest.mark.parametrize("text", ["epochs", "=3", " =3"])
def test_an_assignment_has_a_name_and_an_equals_sign(text: str) -> None:
    with pytest.raises(UserError, match=r"--set must be FIELD=VALUE, got '.*'; e\.g\. seeds=\[1\]"):
        assignment(text, "--set", example="seeds=[1]")
