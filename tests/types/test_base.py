"""A method on paper: kind, name, version and fields, and back; what differs from the registered class is refused."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import ClassVar

import pytest

from benchmark.attacks.badnet import BadNet
from benchmark.errors import UserError
from benchmark.repairs.par import PAR
from benchmark.types import Range

pytestmark = pytest.mark.unit


class Outside(PAR):
    """PAR, as if it came from a plugin."""

    name: ClassVar[str] = "outside"
    plugin_source_hash: ClassVar[str | None] = "abcd"
    value_versions: ClassVar[Mapping[str, int]] = {"epochs=7": 2}


def test_a_method_is_written_with_kind_name_version_and_every_field() -> None:
    written = BadNet(target="ring", size=4).to_dict()
    assert {part: written[part] for part in ("kind", "name", "version")} == {
        "kind": "attack",
        "name": "badnet",
        "version": 1,
    }
    assert set(written["fields"]) == set(BadNet.model_fields)
    assert (written["fields"]["target"], written["fields"]["size"]) == ("ring", 4)
    assert "source" not in written
    assert Outside().to_dict()["source"] == "abcd"


@pytest.mark.parametrize("method", [BadNet(target="ring", size=4), PAR(epochs=3), Outside(epochs=3), Outside(epochs=7)])
def test_what_was_written_is_read_back(method: BadNet | PAR) -> None:
    again = type(method).from_dict(json.loads(json.dumps(method.to_dict())))
    assert (again, again.identity()) == (method, method.identity())


def test_a_person_may_write_the_fields_alone() -> None:
    assert PAR.from_dict({"fields": {"epochs": 3}}) == PAR(epochs=3)
    assert PAR.from_dict({}) == PAR()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 0}, "repair outside must be of version 2, as here, got 0; results differ: take the release"),
        ({"kind": "attack"}, "repair outside must be of kind repair, as here, got attack; "),
        ({"name": "par"}, "repair outside must be of name outside, as here, got par; "),
        ({"source": "ffff"}, "repair outside must be of source abcd, as here, got ffff; give the file that it was"),
        (
            {"fields": {"epochs": 7}},
            "repair outside must be of value_versions {'epochs=7': 2}, as here, got {}; results",
        ),
        (
            {"value_versions": {"epochs=7": 2}},
            "repair outside must be of value_versions {}, as here, got {'epochs=7': 2}",
        ),
        ({"field": {}}, "repair outside: unknown entry 'field'; did you mean fields"),
        ({"fields": {"epoch": 3}}, "repair outside: unknown field 'epoch'; did you mean epochs"),
        ({"fields": {"epochs": "x"}}, "repair outside.epochs must be a valid integer"),
    ],
)
def test_what_is_another_method_is_refused_in_one_line(change: dict[str, object], message: str) -> None:
    with pytest.raises(UserError) as caught:
        Outside.from_dict(Outside().to_dict() | change)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_a_logarithmic_range_starts_above_zero() -> None:
    with pytest.raises(ValueError, match=r"^Range must have low above 0 where log is true, got low 0$"):
        Range(0, 1, log=True)
    assert Range(0, 1) == (0, 1, False)
