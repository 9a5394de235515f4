"""The headline: how numbers and labels are written, and a direction only where there is one."""

from __future__ import annotations

import math

import pandas as pd
import pytest

from reports.compile import Frame, Results
from reports.grid import grid_rows
from reports.headline import headline, objective_pair, reading, repair_gaps
from reports.labels import percent, seconds, signed, titles
from tests.helpers import fake_suite
from tests.helpers.fake_suite import names


def test_numbers_as_people_write_them() -> None:
    assert [percent(0.9523), percent(0.0), percent(math.nan), percent(-0.0001)] == ["95.2", "0.0", "–", "0.0"]
    assert [signed(0.031), signed(-0.453), signed(-1e-9), signed(None)] == ["+3.1", "−45.3", "±0.0", "–"]
    assert [seconds(8.21), seconds(200), seconds(3840), seconds(None)] == ["8.2 s", "3 min 20 s", "1 h 04 min", "–"]


def test_fields_are_named_only_where_names_coincide() -> None:
    shown = {"badnet": "BadNet"}
    assert titles(["badnet(size=4)", "none"], shown) == {"badnet(size=4)": "BadNet", "none": "none"}
    assert list(titles(["badnet(size=4)", "badnet(size=5)"], shown).values()) == ["BadNet (size=4)", "BadNet (size=5)"]


def test_the_objectives_of_the_headline() -> None:
    assert objective_pair(["ssl", "mmcl-ssl(weight=2)", "mmcl"]) == ("mmcl", "mmcl-ssl(weight=2)")
    assert objective_pair(["ssl", "other"]) == ("ssl", "other")
    assert objective_pair(["mmcl"]) is None


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        (
            (900, 900),
            (900, 450),
            "cost 50.0 points more of the starting clean accuracy after MMCL+SSL than after MMCL",
        ),
        (
            (900, 450),
            (900, 900),
            "cost 50.0 points less of the starting clean accuracy after MMCL+SSL than after MMCL",
        ),
        ((900, 900), (900, 899), "the interval includes zero"),
        ((900, 890), (900, 890), "cost the same after MMCL and after MMCL+SSL"),
    ],
)
def test_the_reading_holds_for_either_sign(
    first: tuple[int, int], second: tuple[int, int], expected: str, results: Results
) -> None:
    same = "same" in expected or "50.0" in expected
    own = results.cells[results.cells["attack"] == fake_suite.BADNET]
    seeds = [_counted(own, (first, second), 0), _counted(own, (first, second if same else first), 1)]
    (gap,) = repair_gaps(pd.concat(seeds, ignore_index=True), fake_suite.OBJECTIVES)
    assert expected in reading(gap, names(results))[0]


def _counted(cells: Frame, counts: tuple[tuple[int, int], tuple[int, int]], seed: int) -> Frame:
    """Cells of one attack under another seed, with the given right answers before and after the repair."""
    cells = cells.assign(seed=seed)
    for objective, pair in zip(fake_suite.OBJECTIVES, counts, strict=True):
        for selection, count in zip(("undefended", "oracle"), pair, strict=True):
            hit = (cells["objective"] == objective) & (cells["selection"] == selection)
            cells.loc[hit, ["status", "clean_accuracy_count"]] = ["ok", count]
            cells.loc[hit, "clean_accuracy_total"] = 1000
    return cells


def test_one_seed_says_by_attack_what_it_found_and_whether_the_attacks_agree(results: Results) -> None:
    (gap,) = repair_gaps(results.cells, fake_suite.OBJECTIVES)
    badnet = gap.by_attack[fake_suite.BADNET]
    agree, disagree = (badnet._replace(estimate=value) for value in (0.1, -0.5))
    text = reading(gap._replace(by_attack={fake_suite.BADNET: badnet, fake_suite.BLENDED: disagree}), names(results))[0]
    assert text.startswith("The attacks disagree in sign (BadNet +98.0, Blended −50.0)")
    text = reading(gap._replace(by_attack={fake_suite.BADNET: badnet, fake_suite.BLENDED: agree}), names(results))[0]
    assert text == "By attack: BadNet +98.0, Blended +10.0. Another seed may well give another gap."
    assert not any(word in text for word in ("harder", "easier", "more", "less"))


def test_an_attack_with_one_seed_has_no_interval_beside_those_with_several(results: Results) -> None:
    badnet, blended = (
        results.cells[results.cells["attack"] == name] for name in (fake_suite.BADNET, fake_suite.BLENDED)
    )
    counts = ((900, 800), (900, 450))
    cells = [_counted(badnet, counts, 0), _counted(badnet, ((900, 790), (900, 450)), 1), _counted(blended, counts, 0)]
    (gap,) = repair_gaps(pd.concat(cells, ignore_index=True), fake_suite.OBJECTIVES)
    shown = {row.attack: row.interval for row in headline(gap, results.cells, names(results)).rows}
    assert shown["BadNet"].startswith("[")
    assert shown["Blended"] == ""


def test_a_cell_set_by_rule_gives_no_direction_over_several_seeds(results: Results) -> None:
    own = results.cells[results.cells["attack"] == fake_suite.BADNET]
    cells = pd.concat([_counted(own, ((900, 900), (900, 450)), seed) for seed in (0, 1)], ignore_index=True)
    hit = (cells["objective"] == "mmcl-ssl") & (cells["selection"] == "oracle") & (cells["seed"] == 1)
    cells.loc[hit, "status"] = "repair_failed"
    (gap,) = repair_gaps(cells, fake_suite.OBJECTIVES)
    first, second = reading(gap, names(results))
    assert "by ±0.0\u00a0% after MMCL and by −75.0\u00a0% after MMCL+SSL" in first and "no direction" in first
    assert not any(word in first for word in ("harder", "easier", "more", "less"))
    assert second.startswith("In 1 of 4 cells")


def test_the_headline_shows_trigger_blind_asr_beside_its_accuracy_and_says_where_defaults_stand_in(
    results: Results,
) -> None:
    (gap,) = repair_gaps(results.cells, fake_suite.OBJECTIVES)
    plain = next(row for row in headline(gap, results.cells, names(results)).rows if row.attack == "BadNet")
    assert plain.blind == ("69.4 / 8.2", "76.8 / 53.1")
    blind = (results.cells["selection"] == "trigger_blind") & (results.cells["objective"] == "mmcl")
    cells = results.cells.copy()
    cells.loc[blind, "reason"] = "no trial held its CA; the defaults stand in"
    said = next(row for row in headline(gap, cells, names(results)).rows if row.attack == "BadNet")
    assert said.blind == ("69.4 / 8.2 (by the defaults)", "76.8 / 53.1")


def test_a_trial_that_did_not_end_is_no_stand_in_of_the_defaults(results: Results) -> None:
    hit = (results.cells["selection"] == "trigger_blind") & (results.cells["status"] == "ok")
    cells = results.cells[hit].assign(reason="7 of 9 trials ended; KeyError: 'x'")
    shown = grid_rows(cells, names(results), bound=None, rate="net_asr")
    assert {row.status for row in shown} == {"ok"}


def test_defaults_that_stand_in_are_no_plain_ok(results: Results) -> None:
    hit = (results.cells["selection"] == "trigger_blind") & (results.cells["status"] == "ok")
    cells = results.cells[hit].assign(reason="no trial held its CA; the defaults stand in")
    standing_in = grid_rows(cells, names(results), bound=None, rate="net_asr")
    assert {(row.status, row.tone) for row in standing_in} == {("ok, by the defaults", "warn")}
    plain = grid_rows(results.cells[hit].assign(reason=""), names(results), bound=None, rate="net_asr")
    assert {(row.status, row.tone) for row in plain} == {("ok", "good")}


def test_the_page_names_the_fields_that_the_suite_sets(page: str) -> None:
    assert "published setting" not in page
    methods = page[page.index('<section id="methods"') :]
    assert "poison_rate=0.03, target=circle" in methods and "the method&#39;s defaults" in methods
