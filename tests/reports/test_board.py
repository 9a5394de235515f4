"""The board made from a made-up suite: every number from the records, nothing blank, nothing executed."""

from __future__ import annotations

import base64
import hashlib
import html
import math
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from matplotlib.patches import Patch

from benchmark.errors import UnknownNameError, UserError
from benchmark.stats import front
from benchmark.store.artifacts import Store
from reports import style
from reports.board import write_board
from reports.compile import Frame, Results, compile_suite
from reports.figures import gap_chart, scatter, scene
from reports.floors import floor_rows
from reports.grid import Names, grid_rows, names_of
from reports.headline import headline, objective_pair, reading, repair_gaps
from reports.heatmaps import repair_map
from reports.labels import percent, seconds, signed, titles, wrap
from reports.matrix import objective_matrix, repair_matrices
from reports.views import best_default, control_rows
from tests.helpers import fake_suite


class Grid(HTMLParser):
    """Collects the rows of the grid: data attributes, and of each entry its sort value and text."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[tuple[dict[str, str | None], list[list[str]]]] = []
        self.inside = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if tag == "section":
            self.inside = found.get("id") == "grid"
        if self.inside and tag == "tr" and "data-objective" in found:
            self.rows.append((found, []))
        if self.inside and tag == "td" and self.rows:
            self.rows[-1][1].append([found.get("data-sort") or "", ""])

    def handle_data(self, data: str) -> None:
        if self.inside and self.rows and self.rows[-1][1]:
            self.rows[-1][1][-1][1] += data.strip() + " "


@pytest.fixture(scope="module")
def broken_store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    store = Store(tmp_path_factory.mktemp("broken"))
    fake_suite.write(store, *fake_suite.broken())
    return store


@pytest.fixture(scope="module")
def results(broken_store: Store) -> Results:
    return compile_suite(broken_store, "demo")


@pytest.fixture(scope="module")
def board(broken_store: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_board(broken_store, "demo", tmp_path_factory.mktemp("board") / "new" / "folder")


@pytest.fixture(scope="module")
def page(board: Path) -> str:
    return board.read_text(encoding="utf-8")


def make_store(path: Path, cells: fake_suite.Rows, changed: dict[str, fake_suite.Rows | None] | None = None) -> Store:
    store = Store(path)
    fake_suite.write(store, cells, changed)
    return store


# --- compiling ---------------------------------------------------------------------------------------------------


def names(results: Results) -> Names:
    return names_of(results.cells, cards=results.cards)


def test_every_cell_and_rule_has_a_row(results: Results) -> None:
    cells = fake_suite.broken()[0]
    expected = [(c["cell"], rule) for c in cells for rule in fake_suite.rules(c["repair"], c["searched"])]
    found = list(zip(results.cells["cell"], results.cells["selection"], strict=True))
    assert sorted(found) == sorted(expected)
    assert found[0] == expected[0]
    counts = results.cells["status"].value_counts().to_dict()
    assert counts == {"ok": 38, "missing": 3, "repair_failed": 1, "attack_did_not_plant": 1, "failed": 1}


def test_objectives_on_another_model_say_so(tmp_path: Path) -> None:
    cells = fake_suite.grid((fake_suite.BADNET,), (0,))
    more = [cell | {"cell": f"vit-{cell['cell']}", "record": f"vit-{i}"} for i, cell in enumerate(cells[:4])]
    found = compile_suite(make_store(tmp_path, [*cells, *(cell | {"model": "tiny-vit"} for cell in more)]), "demo")
    assert list(dict.fromkeys(found.cells["objective"])) == ["mmcl", "mmcl-ssl", "mmcl(model=tiny-vit)"]
    own = found.cells[found.cells["objective"] == "mmcl(model=tiny-vit)"]
    assert set(own["model"]) == {"tiny-vit"} and set(own["status"]) == {"ok"}
    assert set(own["clean_accuracy"]) == set(found.cells["clean_accuracy"][: len(own)])


def test_attacks_that_are_only_looked_at_take_no_column_among_the_repairs(tmp_path: Path) -> None:
    cells = [*fake_suite.grid((fake_suite.BADNET,), (0,)), fake_suite.entry("mmcl", "sig(target=circle)", "none", 0)]
    found = compile_suite(make_store(tmp_path, cells), "demo")
    names = names_of(found.cells, cards=found.cards)
    assert [head for head, _ in repair_matrices(found.cells, names, found.cards)[0].attacks] == ["no attack", "BadNet"]
    whole = objective_matrix(found.cells, names, found.cards)
    assert whole and [head for head, _ in whole.attacks] == ["no attack", "BadNet", "SIG"]
    shown = scene(found.cells, found.trials, names, bound_on="net", bound=0.05)
    assert set(shown.cells["attack"]) == {fake_suite.BADNET}
    (gap,) = repair_gaps(found.cells, fake_suite.OBJECTIVES)
    assert set(gap.by_attack) == {fake_suite.BADNET}


def test_missing_cells_say_so(results: Results) -> None:
    missing = results.cells[results.cells["status"] == "missing"]
    assert set(missing["selection"]) == {"default", "oracle", "trigger_blind"}
    assert set(missing["reason"]) == {"no record in this store"}
    assert missing["clean_accuracy"].isna().all()


def test_numbers_are_those_of_the_records(results: Results) -> None:
    cell = fake_suite.find(fake_suite.broken()[0], "mmcl", fake_suite.BADNET, "cleanclip")
    row = results.cells[(results.cells["cell"] == cell["cell"]) & (results.cells["selection"] == "oracle")].iloc[0]
    assert (row["clean_accuracy_count"], row["clean_accuracy_total"]) == (0.698 * 2000, 2000)
    assert row["attack_success_rate"] == round(0.049 * 1800) / 1800
    assert row["floor"] == 38 / 1800
    assert row["net_asr"] == pytest.approx((88 - 38) / 1800)
    own = results.measures[results.measures["row"] == row["row"]]
    assert len(own) == len(fake_suite.measures(0.698, 0.049, objective="mmcl"))


def test_trials_carry_the_axes_of_their_cell(results: Results) -> None:
    assert len(results.trials) == 5 * 36  # six searched cells, one of them without a record
    assert set(results.trials["repair"]) == {"cleanclip"}
    assert results.trials["attack"].notna().all()


def test_an_unknown_suite_names_the_known_ones(broken_store: Store, tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="did you mean demo"):
        write_board(broken_store, "dmeo", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_record_of_a_newer_schema_is_refused(tmp_path: Path) -> None:
    cells = fake_suite.grid((fake_suite.BADNET,), (0,))
    newer = [row | {"schema_version": 99} for row in fake_suite.rows_of(cells[0])]
    store = make_store(tmp_path, cells, {cells[0]["cell"]: newer})
    with pytest.raises(UserError, match=r"schema_version must be at most 4, got 99; upgrade"):
        compile_suite(store, "demo")


def test_a_table_that_is_no_record_is_refused(tmp_path: Path) -> None:
    cells = fake_suite.grid((fake_suite.BADNET,), (0,))[:1]
    store = make_store(tmp_path, cells)
    fake_suite.replace_record(store, cells[0], pa.table({"other": [1]}))
    with pytest.raises(UserError, match="must be a table of this schema"):
        compile_suite(store, "demo")


# --- the page ----------------------------------------------------------------------------------------------------


def test_the_grid_shows_the_numbers_of_the_records(page: str, results: Results) -> None:
    parser = Grid()
    parser.feed(page)
    assert len(parser.rows) == len(results.cells)
    for (keys, entries), cell in zip(parser.rows, results.cells.itertuples(), strict=True):
        assert (keys["data-objective"], keys["data-attack"]) == (cell.objective, cell.attack)
        assert (keys["data-rule"], keys["data-status"]) == (cell.selection, cell.status)
        shown = [float(entry[0]) if entry[0] else math.nan for entry in entries[5:11]]
        wanted = [cell.clean_accuracy, cell.attack_success_rate, cell.poisoned_accuracy, cell.floor]
        wanted += [cell.repaired_floor, cell.net_asr]
        np.testing.assert_array_equal(shown, wanted)
        assert entries[5][1].startswith(percent(cell.clean_accuracy))
        assert cell.status.replace("_", " ") in entries[4][1]
        assert cell.reason in entries[4][1]


def test_denominators_and_intervals_are_there(page: str) -> None:
    assert "88 of 1800; 95 % Wilson interval 4.0–6.0 %" in page


def test_hostile_texts_are_escaped(page: str) -> None:
    assert fake_suite.HOSTILE not in page
    assert page.count("<script>") == 1
    assert html.escape(fake_suite.HOSTILE, quote=False).replace("'", "&#39;") in page
    assert "javascript:" not in page


def test_the_page_loads_nothing_and_runs_only_its_own_script(page: str, board: Path) -> None:
    policy = re.search(r"script-src 'sha256-([^']+)'", html.unescape(page))
    script = re.search(r"<script>(.*?)</script>", page, re.DOTALL)
    assert policy is not None
    assert script is not None
    assert policy.group(1) == base64.b64encode(hashlib.sha256(script.group(1).encode()).digest()).decode()
    targets = re.findall(r'(?:href|src)="([^"]*)"', page)
    files = {target for target in targets if not target.startswith("#")}
    drawn = ("scatter", "scatter-column", "repair-gap", "repairs-0", "repairs-1")
    formats = ("pdf", "svg", "png")
    tables = {"records.csv", "measures.csv", "tables.md"}
    assert files == tables | {f"figures/{name}.{kind}" for name in drawn for kind in formats}
    assert all((board.parent / file).stat().st_size > 0 for file in files)
    assert all(url.startswith("#") for url in re.findall(r"url\(([^)]*)\)", page))
    assert set(re.findall(r"https?://[^\"\s]+", page)) == {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}


def test_ids_are_unique_and_inner_links_lead_somewhere(page: str) -> None:
    ids = re.findall(r' id="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    inner = {target[1:] for target in re.findall(r'href="(#[^"]+)"', page)}
    assert inner <= set(ids)


def test_skipped_rows_are_said_once_on_the_page_and_in_markdown(tmp_path: Path) -> None:
    names = {"count": 40, "keys": ["<b>1.png", "2.png", "3.png"]}
    left_out = {"dataset": "mine", "rows": 1234, "broken": names, "empty_captions": {"count": 1, "keys": ["a|b"]}}
    store = Store(tmp_path / "store")
    fake_suite.write(store, fake_suite.grid(("badnet",), (0,)), facts={"skipped": [left_out]})
    line = "mine: skipped 41 of 1,234 rows: 40 with a missing or broken image (<b>1.png, 2.png, 3.png, …), "
    line += "1 with neither caption nor label (a|b)"
    shown = write_board(store, "demo", tmp_path / "board").read_text(encoding="utf-8")
    assert shown.count(html.escape(line)) == 1 and '<a href="#standing">' in shown
    told = (tmp_path / "board" / "tables.md").read_text(encoding="utf-8")
    assert told.count(line.replace("<b>", r"\<b\>").replace("a|b", r"a\|b")) == 1
    fake_suite.write(store, fake_suite.grid(("badnet",), (0,)))
    assert "skipped" not in write_board(store, "demo", tmp_path / "board").read_text(encoding="utf-8")


def test_the_headline_counts_only_what_planted_and_finished(page: str) -> None:
    text = re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", " ", page)))
    # MMCL: 1396 / 1424 − 1 = −2.0 %; MMCL+SSL: no point met the bound
    assert "+98.0" in text
    assert "one seed: no interval, no direction" in text
    assert '<p class="number">' not in page and "percentage points" not in text and ">Mean<" not in page
    assert "MMCL+SSL: no point met the bound" in text
    assert "MMCL: attack did not plant" in text
    assert "MMCL: missing" in text
    assert "2 of 3 pairs of cells could not be used" in text
    assert "one seed: no rank" in text


def test_a_suite_without_any_record_says_so(tmp_path: Path) -> None:
    cells = fake_suite.grid((fake_suite.BADNET,), (0,))
    store = make_store(tmp_path / "store", cells, {cell["cell"]: None for cell in cells})
    page = write_board(store, "demo", tmp_path / "board").read_text(encoding="utf-8")
    assert "There is no repair gap to report yet" in page
    assert "No attacked cell is finished yet" in page
    assert page.count('<span class="pill quiet">missing</span>') == len(compile_suite(store, "demo").cells) + 1
    assert not (tmp_path / "board" / "figures").exists()


def test_tables_keep_everything_and_hold_no_formula(tmp_path: Path) -> None:
    cells = fake_suite.grid((), (0,))
    crash = fake_suite.record(cells[0], "undefended", status="failed", reason="=HYPERLINK(A1)")
    store = make_store(tmp_path / "store", cells, {cells[0]["cell"]: [crash]})
    write_board(store, "demo", tmp_path)
    records: Frame = pd.read_csv(tmp_path / "records.csv")
    assert records["reason"][0] == "'=HYPERLINK(A1)"
    assert records["clean_accuracy"].notna().sum() == len(cells) - 1
    measures: Frame = pd.read_csv(tmp_path / "measures.csv")
    assert {"class_accuracy/9", "recall_at_10"} <= set(measures["name"])
    assert (measures["value"] == measures["count"] / measures["total"]).all()


# --- words and numbers -------------------------------------------------------------------------------------------


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


def test_best_at_defaults_keeps_accuracy_within_the_bound(results: Results) -> None:
    cells = results.cells
    own = cells[(cells["objective"] == "mmcl") & (cells["attack"] == fake_suite.BADNET)]
    assert best_default(own, names(results), bound=0.10, rate="net_asr") == ("CleanCLIP", "70.5 / 11.8", True, False)
    loose = best_default(own, names(results), bound=0.96, rate="net_asr")
    assert loose is not None and loose.repair == "BatchNorm only"
    none_within = best_default(own, names(results), bound=0.05, rate="net_asr")
    assert none_within == ("CleanCLIP", "70.5 / 11.8", False, False)


def destroyed(cells: fake_suite.Rows, seeds: tuple[int, ...] = (0,)) -> dict[str, fake_suite.Rows | None]:
    """MMCL fine-tuning of MMCL's BadNet model leaves a constant predictor: CA at chance, ASR 0."""
    changed: dict[str, fake_suite.Rows | None] = {}
    for seed in seeds:
        cell = fake_suite.find(cells, "mmcl", fake_suite.BADNET, "fine-tuning", seed)
        changed[cell["cell"]] = [
            fake_suite.record(cell, "default", made=fake_suite.measures(0.1, 0.0, objective="mmcl"))
        ]
    return changed


def test_a_destroyed_model_is_neither_best_nor_white(tmp_path: Path) -> None:
    cells = fake_suite.grid((fake_suite.BADNET,), (0,))
    store = make_store(tmp_path / "store", cells, destroyed(cells))
    found = compile_suite(store, "demo")
    own = found.cells[(found.cells["objective"] == "mmcl") & (found.cells["attack"] == fake_suite.BADNET)]
    rate = "judged_net_asr"
    best = best_default(own, names(found), bound=0.05, rate=rate)
    assert best == ("MMCL fine-tuning", "10.0 / 0.0, net −2.1", True, True)  # within the bound, and no cure
    kept = best_default(own, names(found), bound=0.10, rate=rate)
    assert kept == ("CleanCLIP", "70.5 / 11.8, net +9.7", True, False)
    lowest = best_default(own[own["repair"] != "fine-tuning"], names(found), bound=0.05, rate=rate)
    assert lowest and (lowest.repair, lowest.within, lowest.costly) == ("CleanCLIP", False, False)

    entry = repair_matrices(found.cells, names(found), found.cards)[0].rows[1].entries[1]
    assert (entry.text, entry.small, entry.costly) == ("10.0 / 0.0", "PA 10.0, net −2.1", True)
    figure = repair_map(repair_matrices(found.cells, names(found), found.cards)[0])
    assert any(patch.get_hatch() for patch in figure.axes[0].patches)
    page = write_board(store, "demo", tmp_path / "board").read_text(encoding="utf-8")
    assert "none that keeps its CA" in page and 'class="num heat costly"' in page
    assert '<span class="pill warn">ok</span><small class="wrap">CA 61.2 points below undefended</small>' in page


def test_an_oracle_point_that_is_above_the_bound_on_test_says_so(page: str, results: Results) -> None:
    rows = grid_rows(results.cells, names(results), bound=0.02, rate="net_asr")
    marked = {row.marks for row in rows if row.keys["rule"] == "oracle" and "not on test" in row.marks}
    assert any(mark.startswith("met the bound on validation, not on test: 2.8 %") for mark in marked)
    assert not any("not on test" in row.marks for row in rows if row.keys["rule"] != "oracle")
    assert "met the bound on validation (net ASR" in page


def test_what_is_lost_is_subtracted_seed_by_seed_and_missing_seeds_are_named(tmp_path: Path) -> None:
    """Later seeds of the made-up suite are 1.3 points worse each; two of three cells of a repair are missing."""
    cells = fake_suite.grid((fake_suite.BADNET,), (0, 1, 2))
    gone = {fake_suite.find(cells, "mmcl", fake_suite.BADNET, "fine-tuning", seed)["cell"]: None for seed in (1, 2)}
    found = compile_suite(make_store(tmp_path, cells, dict(gone)), "demo")
    entry = repair_matrices(found.cells, names(found), found.cards)[0].rows[1].entries[1]
    assert entry.loss == pytest.approx(0.004)  # not 0.004 + (0.0 + 1.3 + 2.6) / 3 - 0.0
    assert entry.seeds == "1 of 3 seeds" and "1 of 3 seeds" in entry.small
    rows = control_rows(found.cells, names(found), ("fine-tuning", "batch-norm-only"))
    controls = [row for row in rows if row.attack == "BadNet"]
    control = next(row for row in controls if row.repair == "MMCL fine-tuning")
    assert control.accuracy.text == "−0.4" and "1 of 3 seeds" in control.status


def test_the_repaired_floor_stands_beside_the_floor(board: Path, page: str, results: Results) -> None:
    (first, *_) = floor_rows(results.cells, names(results))
    assert first == (("MMCL", "BadNet", "MMCL fine-tuning"), ("84.6", "2.1", "5.0", "+82.5"), "")
    assert "Repaired floor" in page
    tables = (board.parent / "tables.md").read_text()
    assert "| MMCL | BadNet | MMCL fine-tuning | 84.6 | 2.1 | 5.0 | +82.5 |  |" in tables
    assert "repaired_floor" in (board.parent / "records.csv").read_text().splitlines()[0]


def test_controls_are_differences_to_the_undefended_model(results: Results) -> None:
    found = control_rows(results.cells, names(results), ("fine-tuning", "batch-norm-only"))
    rows = {(row.objective, row.attack, row.repair): row for row in found}
    fine_tuned = rows["MMCL+SSL", "BadNet", "MMCL fine-tuning"]
    assert (fine_tuned.accuracy.text, fine_tuned.asr.text, fine_tuned.status) == ("−1.2", "−3.2", "")
    assert rows["MMCL", "none", "CleanCLIP"].accuracy.text == "−0.7"
    assert rows["MMCL", "Blended", "BatchNorm only"].status == "attack did not plant"


# --- figures -----------------------------------------------------------------------------------------------------


def test_the_scatter_subtracts_the_floor_on_a_net_bound(results: Results) -> None:
    net = scene(results.cells, results.trials, names(results), bound_on="net", bound=0.05)
    absolute = scene(results.cells, results.trials, names(results), bound_on="absolute", bound=0.05)
    floors = absolute.trials["x"] - net.trials["x"]
    assert set(floors.round(6)) == {3.0}  # validation's own floor, which the rules subtract; test has 2.1 and 2.7
    (panel, *_) = scatter(net, fake_suite.OBJECTIVES).axes
    shaded = panel.patches[0].get_extents().transformed(panel.transData.inverted())
    assert (round(shaded.x0), round(shaded.x1)) == (-5, 5)
    assert net.bound == 5.0
    assert net.hidden == 0


def test_points_without_a_floor_are_left_out_and_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fake_suite, "VALIDATION_FLOOR", math.nan)
    cells = fake_suite.grid((fake_suite.BADNET,), (0,))
    store = make_store(tmp_path / "store", cells)
    page = write_board(store, "demo", tmp_path / "board").read_text(encoding="utf-8")
    assert "72 validation points are left out" in page


def test_panels_and_fronts(results: Results) -> None:
    shown = scene(results.cells, results.trials, names(results), bound_on="net", bound=0.05)
    figure = scatter(shown, fake_suite.OBJECTIVES)
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["MMCL", "MMCL+SSL"]
    assert figure.get_figwidth() == style.PAGE_WIDTH
    own = shown.trials[(shown.trials["objective"] == "mmcl") & (shown.trials["attack"] == fake_suite.BADNET)]
    best = own.iloc[front(own[["validation_accuracy", "validation_asr"]].to_numpy())]
    drawn = np.asarray(figure.axes[0].lines[0].get_xydata())
    np.testing.assert_allclose(drawn, best.sort_values("x")[["x", "y"]].to_numpy())


def test_every_repair_has_a_mark_and_a_name_in_the_legend_and_no_search_is_told_of_where_there_is_none(
    results: Results,
) -> None:
    cells = results.cells[results.cells["repair"].isin(["none", "fine-tuning"])]
    made = [cells[cells["repair"] == "none"]]
    made += [cells[cells["repair"] == "fine-tuning"].assign(repair=f"repair-{place}") for place in range(13)]
    shown = scene(pd.concat(made), results.trials.iloc[:0], Names({}, {}, {}), bound_on="net", bound=0.05)
    labels = {f"repair-{place}": f"Repair {place} (variant=as_released)" for place in range(13)}
    known = names(results)
    (legend,) = scatter(shown._replace(names=known._replace(repair=labels)), fake_suite.OBJECTIVES).legends
    texts = [text.get_text() for text in legend.get_texts()]
    assert [text for text in texts if text.startswith("Repair")] == [
        f"Repair {place}\n(variant=as_released)" for place in range(13)
    ]
    assert not {"oracle", "trigger-blind", "default"} & set(texts)
    assert all(isinstance(handle, Patch) for handle in legend.legend_handles[:2])
    assert len({handle.get_marker() for handle in legend.legend_handles[3:16]}) == 13


def test_labels_in_figures_are_wrapped_before_they_are_cut() -> None:
    assert wrap("CleanCLIP (variant=as_released)", 24) == "CleanCLIP\n(variant=as_released)"
    assert wrap("MMCL", 16) == "MMCL"
    assert wrap("x" * 100, 16) == "x" * 31 + "…"


def test_figures_are_written_in_three_formats_and_equal_bytes(results: Results, tmp_path: Path) -> None:
    (gap,) = repair_gaps(results.cells, fake_suite.OBJECTIVES)
    first = style.save(gap_chart(gap, names(results)), tmp_path / "one" / "gap")
    second = style.save(gap_chart(gap, names(results)), tmp_path / "two" / "gap")
    assert [path.name for path in first] == ["gap.svg", "gap.png", "gap.pdf"]
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
    assert gap_chart(gap, names(results)).get_figwidth() == style.COLUMN_WIDTH


def test_labels_with_dollars_and_markup_are_drawn_as_they_are(results: Results) -> None:
    cells = results.cells.assign(objective=results.cells["objective"].replace("mmcl", "$\\frac{<b>$"))
    shown = scene(cells, results.trials.iloc[:0], names_of(cells), bound_on="net", bound=None)
    figure = scatter(shown, ["$\\frac{<b>$"])
    svg = style.inline_svg(figure, 'about "it"', prefix="x")
    assert "$\\frac{&lt;b&gt;$" in svg
    assert 'aria-label="about &#34;it&#34;"' in svg
    assert "<style" not in svg


# --- in a browser ------------------------------------------------------------------------------------------------

CLICKS = """<script>
document.querySelector('#grid th[data-column="6"] button').click();
document.querySelector('#grid th[data-column="6"] button').click();
const form = document.querySelector("form.filters");
form.elements.objective.value = "mmcl-ssl";
form.dispatchEvent(new Event("input"));
</script>"""


def dumped(page: Path, profile: Path) -> str:
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if not browser:
        pytest.skip("no Chromium on the PATH")
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
    command = [browser, *flags, f"--user-data-dir={profile}", "--dump-dom", page.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout


@pytest.mark.browser
def test_the_policy_lets_our_script_run(board: Path, tmp_path: Path) -> None:
    dom = dumped(board, tmp_path)
    assert '<html lang="en" class="js">' in dom
    assert '<output aria-live="polite">44 rows</output>' in dom


@pytest.mark.browser
def test_sorting_and_filtering(board: Path, tmp_path: Path) -> None:
    text = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", board.read_text(encoding="utf-8"))
    copy = tmp_path / "copy.html"
    copy.write_text(text.replace("</body>", CLICKS + "</body>"), encoding="utf-8")
    dom = dumped(copy, tmp_path / "profile")
    parser = Grid()
    parser.feed(dom)
    rates = [entries[6][0] for _, entries in parser.rows]
    there = [float(rate) for rate in rates if rate]
    assert there == sorted(there, reverse=True)
    assert rates[: len(there)] == [rate for rate in rates if rate]  # those without a number stand last
    hidden = {keys["data-objective"] for keys, _ in parser.rows if "hidden" in keys}
    assert hidden == {"mmcl"}
    assert "22 of 44 rows" in dom
