"""How a measure is written follows from its unit, bounds and direction."""

from __future__ import annotations

import math

import pandas as pd
import pytest

from reports import style
from reports.heatmaps import Square, _scaled, _short
from reports.numbers import Scale, difference, heading, number, proportion, scales_of, shown_names, title

SHARE = Scale("share", 0.0, 1.0, True)


@pytest.mark.parametrize(
    ("scale", "value", "count", "total", "text"),
    [
        (SHARE, 0.5, 50, 100, "50.0"),
        (SHARE._replace(lower=-1.0), 0.031, -1, 100, "+3.1"),
        (Scale("area", 0.0, 1.0, True), 0.985, -1, 100, "0.985"),
        (Scale("pairs", 0.0, None, False), 1234.0, -1, 3000, "1\u202f234"),
        (Scale("standard deviations", None, None, False), -2.0, -1, 500, "−2.00"),
        (Scale(), 0.25, 1, 4, "25.0"),  # a record from before units: a share where it has counts
        (Scale(), 0.25, -1, 4, "0.25"),
        (SHARE, math.nan, 0, 0, "–"),
    ],
)
def test_a_value_is_written_by_its_unit(scale: Scale, value: float, count: int, total: int, text: str) -> None:
    assert number(value, count, total, scale).text == text


def test_names_are_put_into_words_and_headings_point_to_the_better_side() -> None:
    assert title("auprc_at_0.1pct") == "AUPRC at 0.1 %"
    assert title("clean_accuracy@int8") == "CA int8"
    assert title("a_brand_new_number") == "a brand new number"
    assert heading("poisons_left_at_5pct", Scale("pairs", 0.0, None, False)) == "Poisons left at 5 % (pairs)\u00a0↓"
    assert heading("recall_at_5", SHARE) == "Recall at 5\u00a0↑"
    assert heading("floor", SHARE._replace(higher_is_better=None)) == "Floor"


@pytest.mark.parametrize(("count", "total"), [(0, 0), (-1, 100), (math.nan, 100), (5, 4)])
def test_where_there_is_no_proportion_there_is_no_interval(count: float, total: float) -> None:
    assert (proportion(0.5, count, total).note, difference(0.5, (1, 2), (count, total)).note) == ("", "")


def test_a_difference_of_shares_has_its_interval() -> None:
    found = difference(0.2, (56, 70), (48, 80))  # Newcombe 1998, table II
    assert (found.text, found.note) == ("+20.0", "+5.2 to +33.4")


def test_a_status_is_written_out_in_a_heat_map() -> None:
    assert [_short(off) for off in ("timed out", "out of memory", "missing")] == [
        "timed\nout",
        "out of\nmemory",
        "missing",
    ]


def test_records_from_before_units_mean_what_they_meant() -> None:
    names = ["net_asr", "auroc", "poisons_left_at_5pct", "net_asr@int8", "tdpa_mean_rank"]
    old = pd.DataFrame({"name": names, **dict.fromkeys(Scale._fields)})
    scales = scales_of(old)
    texts = [
        number(value, -1, 340, scales[name]).text
        for name, value in zip(names, (0.83, 0.95, 22.0, 0.5, 3.25), strict=True)
    ]
    assert texts == ["+83.0", "0.950", "22", "+50.0", "3.25"]
    assert _scaled(0.95, scales["auroc"]).depth == pytest.approx(0.9)


def test_tables_leave_out_single_classes_transforms_and_intervals() -> None:
    names = ["x_at_1", "x_at_1_low", "x_at_1_high", "y", "class_accuracy/3", "y@int8", "y", "a_low"]
    assert shown_names(names) == ["y", "a_low", "x_at_1"]


def test_levels_of_one_thing_stand_beside_each_other() -> None:
    assert shown_names(["x_at_1", "z_at_1", "x_at_5", "z_at_5", "y"]) == ["y", "x_at_1", "x_at_5", "z_at_1", "z_at_5"]


def test_colours_follow_direction_and_bounds() -> None:
    better, worse = _scaled(0.9, SHARE), _scaled(0.9, SHARE._replace(higher_is_better=False))
    assert better.colour != worse.colour and better.depth == worse.depth == pytest.approx(0.8)
    assert _scaled(9.0, SHARE._replace(upper=10.0)) == better._replace(text="9.00")
    assert _scaled(3.0, Scale("pairs", 0.0, None, False)).depth == 0  # without an upper bound there is no depth
    assert _scaled(0.83, Scale()) == Square(style.PALETTE[2], 0, ".83")  # a record from before bounds keeps its number
    assert _scaled(1.0, SHARE).text == "1.00"
