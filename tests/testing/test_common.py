"""The contract of every kind: fields are immutable, and a search range ends in values of its field."""

from __future__ import annotations

from typing import Annotated, ClassVar

import pytest
from pydantic import Field

from benchmark.repairs.par import PAR
from benchmark.testing.common import common_checks
from benchmark.testing.contract import Broken
from benchmark.types import Method, Range

pytestmark = pytest.mark.unit


class Mutable(PAR):
    """A list is a field."""

    name: ClassVar[str] = "mutable"
    layers: list[int] = [1, 2]


class TooWide(PAR):
    """The range goes beyond the field."""

    name: ClassVar[str] = "too-wide"
    share: Annotated[float, Field(le=1), Range(0.1, 2.0)] = 0.5


@pytest.mark.parametrize(
    ("cls", "check", "message"),
    [
        (Mutable, "frozen", "field 'layers' must be immutable, got a list; use a tuple"),
        (TooWide, "search ranges", "Range of 'share' must end in values of the field, got 2, which it refuses"),
    ],
)
def test_fields_that_no_search_and_no_key_can_rely_on_are_refused(cls: type[Method], check: str, message: str) -> None:
    checks = {item.name: item for item in common_checks(cls, {})}
    with pytest.raises(Broken, match=message):
        checks[check].run()


def test_a_sound_repair_passes() -> None:
    checks = {item.name: item for item in common_checks(PAR, {})}
    assert checks["frozen"].run() == ""
    assert "learning_rate" in checks["search ranges"].run()
