"""Durations as people write them, and which stage they hold for."""

from __future__ import annotations

import pytest

from benchmark.config.time_limits import limit_of, read_time_limits, seconds_of, too_long
from benchmark.errors import UserError

pytestmark = pytest.mark.unit
STAGES = ("data", "pretrain", "defend")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("1h30m", 5400), ("2d", 172800), ("0.5h", 1800), ("10 min", 600), ("1d 12h", 129600)],
)
def test_durations_are_read_as_people_write_them(text: str, seconds: float) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "12", "h", "-1h", "0s", "2 weeks", "1h and more", "1e3s"])
def test_anything_else_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(UserError, match="--time-limit must be a duration of days, hours, minutes or seconds, got"):
        seconds_of(text)


def test_a_limit_of_a_stage_stands_over_that_of_all_and_the_last_one_counts() -> None:
    limits = read_time_limits(["12h", "pretrain=1d", "pretrain=2d"], STAGES)
    assert limits == {"": 43200, "pretrain": 172800}
    assert (limit_of(limits, "pretrain"), limit_of(limits, "data")) == (172800, 43200)
    assert limit_of(read_time_limits(["pretrain=1s"], STAGES), "data") is None
    with pytest.raises(UserError, match=r"unknown stage of --time-limit 'pretain'.*pretrain"):
        read_time_limits(["pretain=2d"], STAGES)


def test_the_reason_names_the_limit_in_a_unit_that_fits() -> None:
    told = ["no result within 90 s", "no result within 2.5 min", "no result within 12 h", "no result within 2 d"]
    assert [too_long(seconds) for seconds in (90, 150, 43200, 172800)] == told
