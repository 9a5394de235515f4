"""The board of a whole zoo: detectors, int8, chosen images, threat models, statuses; repairs stay undisturbed."""

from __future__ import annotations

import html
import math
import re
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.metrics import roc_auc_score

from benchmark.errors import UserError
from benchmark.store.artifacts import Store
from benchmark.store.schemas import RECORDS
from reports import headline, style
from reports.board import write_board
from reports.cards import Card, Cards, cards_of, needs_text, threat_model
from reports.compile import Results, compile_suite
from reports.deployed import forms
from reports.detection import Detectors, detector_scales, detectors
from reports.figures import scene
from reports.further import measure_tables
from reports.grid import names_of
from reports.heatmaps import detector_map, repair_map
from reports.labels import titles
from reports.markdown import escape
from reports.matrix import objective_matrix, repair_matrices
from reports.standing import reasons
from reports.statistics import auroc
from reports.views import Rule, control_rows, objective_cards
from tests.helpers import fake_suite, fake_zoo

LOST = ("mmcl-ssl", fake_zoo.WIDE, "none", "strip")


def store_of(path: Path, *, cards: bool = True, seeds: tuple[int, ...] = (0,)) -> Store:
    store, cells = Store(path), fake_zoo.grid(seeds)
    fake_zoo.write(store, cells, cards=cards, without=(fake_zoo.find(cells, *LOST)["cell"],))
    return store


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    return compile_suite(store_of(tmp_path_factory.mktemp("zoo")), "zoo")


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """The same suite with a document from before cards."""
    return compile_suite(store_of(tmp_path_factory.mktemp("bare"), cards=False), "zoo")


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_board(store_of(tmp_path_factory.mktemp("store")), "zoo", tmp_path_factory.mktemp("board"))


@pytest.fixture(scope="module")
def page(board: Path) -> str:
    return board.read_text(encoding="utf-8")


CONTROLS = ("fine-tuning", "batch-norm-only")


def names(results: Results):
    return names_of(results.cells, results.detections, results.cards)


def found_in(results: Results) -> Detectors:
    scales = detector_scales(results.measures)
    return detectors(results.detections, results.cells, names(results), results.cards, scales)


# --- compiling ---------------------------------------------------------------------------------------------------


def test_detector_cells_stand_apart_and_none_is_lost(results: Results) -> None:
    cells = fake_zoo.grid()
    assert set(results.cells["detector"]) == {"none"}
    assert len(results.detections) == sum(cell["detector"] != "none" for cell in cells)
    assert set(results.cells["cell"]) | set(results.detections["cell"]) == {cell["cell"] for cell in cells}
    gone = results.detections[results.detections["status"] == "missing"]
    assert gone[["objective", "attack", "repair", "detector"]].to_numpy().tolist() == [list(LOST)]
    assert gone["reason"].tolist() == ["no record in this store"]
    assert gone["selection"].tolist() == ["default"]


def test_repair_tables_are_those_of_a_suite_without_detectors(results: Results, tmp_path: Path) -> None:
    store = Store(tmp_path)
    fake_zoo.write(store, [cell for cell in fake_zoo.grid() if cell["detector"] == "none"])
    plain = compile_suite(store, "zoo")
    inner = ["order", "row"]
    pd.testing.assert_frame_equal(results.cells.drop(columns=inner), plain.cells.drop(columns=inner))
    ours, theirs = (headline.repair_gaps(each.cells, fake_zoo.OBJECTIVES) for each in (results, plain))
    assert ours == theirs
    assert control_rows(results.cells, names(results), CONTROLS) == control_rows(plain.cells, names(plain), CONTROLS)
    assert measure_tables(results, names(results)) == measure_tables(plain, names(plain))


def test_numbers_of_detectors_are_those_of_the_records(results: Results) -> None:
    row = results.detections.query("detector == 'dao(retrain=True)' and objective == 'mmcl'")
    row = row[row["attack"] == fake_zoo.BADNET].iloc[0]
    assert row["auroc"] == 0.985
    assert (row["poisons_left_at_5pct"], row["poisons_left_at_5pct_total"]) == (22, 340)
    assert row["clean_accuracy"] == round(0.702 * 1800) / 1800  # of the model that was trained again
    assert math.isnan(row["suspicion"])


def test_other_rules_of_a_cell_that_was_not_run_share_its_reason(results: Results) -> None:
    searched = results.cells[results.cells["searched"].astype(bool)]
    own = searched[(searched["objective"] == "mmcl") & (searched["attack"] == fake_zoo.WANET)]
    assert set(own["selection"]) == {"default", "oracle", "trigger_blind"}
    assert set(own["status"]) == {"attack_did_not_plant"}


def test_records_of_the_first_schema_are_read(tmp_path: Path) -> None:
    cells = fake_suite.grid((fake_suite.BADNET,), (0,))
    store = Store(tmp_path)
    fake_suite.write(store, cells)
    for cell in cells:
        rows = [{**row, "schema_version": 1} for row in fake_suite.rows_of(cell)]
        old = pa.Table.from_pylist(rows, schema=RECORDS).drop_columns("detector")
        fake_suite.replace_record(store, cell, old)
    found = compile_suite(store, "demo")
    assert set(found.cells["detector"]) == {"none"}
    assert set(found.cells["status"]) == {"ok"}
    assert len(found.detections) == 0


def test_a_record_of_this_schema_must_name_its_detector(tmp_path: Path) -> None:
    cells = fake_suite.grid((), (0,))[:1]
    store = Store(tmp_path)
    fake_suite.write(store, cells)
    broken = pa.Table.from_pylist(fake_suite.rows_of(cells[0]), schema=RECORDS).drop_columns("detector")
    fake_suite.replace_record(store, cells[0], broken)
    with pytest.raises(UserError, match="must be a table of this schema"):
        compile_suite(store, "demo")


# --- int8 --------------------------------------------------------------------------------------------------------


def test_an_attack_that_waits_for_int8_is_judged_there(results: Results, bare: Results) -> None:
    def undefended(found: Results, attack: str):
        cells = found.cells[(found.cells["objective"] == "mmcl") & (found.cells["selection"] == "undefended")]
        return cells[cells["attack"] == attack].iloc[0]

    waiting, plain = undefended(results, fake_zoo.QUANT), undefended(results, fake_zoo.BADNET)
    assert waiting["attack_success_rate"] == pytest.approx(0.03)
    assert waiting["judged_attack_success_rate"] == pytest.approx(0.97, abs=1e-3)
    assert waiting["judged_attack_success_rate_total"] == 1800
    assert (waiting["under"], plain["under"]) == ("int8", "")
    assert plain["judged_clean_accuracy"] == plain["clean_accuracy"] != plain["clean_accuracy@int8"]
    # without cards nobody says that it waits, and the model as it is counts
    assert undefended(bare, fake_zoo.QUANT)["judged_attack_success_rate"] == pytest.approx(0.03)


def test_both_forms_of_a_model_side_by_side(results: Results) -> None:
    assert results.transforms == ("int8",)
    (form,) = forms(results.cells, names(results), results.transforms)
    rows = {(row.shown["objective"], row.shown["attack"]): row for row in form.undefended}
    numbers = [number.text for number in rows["MMCL", "Quantisation"].numbers]
    assert numbers == ["71.2", "70.8", "−0.4", "3.0", "97.0", "+94.0", "2.1"]
    assert rows["MMCL", "Quantisation"].waits
    assert not rows["MMCL", "BadNet"].waits
    assert [number.text for number in rows["MMCL", "clean twin"].numbers[3:]] == ["–"] * 4
    assert {row.shown["repair"] for row in form.repaired} >= {"PAR", "TBAR"}
    assert "RVPT" not in {row.shown["repair"] for row in form.repaired}  # not measured, so not there


def test_searches_do_not_see_an_attack_that_waits(results: Results) -> None:
    (gap,) = headline.repair_gaps(results.cells, fake_zoo.OBJECTIVES)
    assert fake_zoo.QUANT not in gap.by_attack
    assert fake_zoo.BADNET in gap.by_attack
    shown = scene(results.cells, results.trials, names(results), bound_on="absolute", bound=0.05)
    assert fake_zoo.QUANT in set(results.trials["attack"])
    assert fake_zoo.QUANT not in set(shown.trials["attack"])
    assert fake_zoo.QUANT in set(shown.cells["attack"])


# --- the overview ------------------------------------------------------------------------------------------------


def test_the_matrix_groups_by_what_the_defender_holds(results: Results) -> None:
    first, second = repair_matrices(results.cells, names(results), results.cards)
    assert (first.title, second.title) == ("MMCL", "MMCL+SSL")
    models = [model for model, _ in first.groups]
    assert models == [
        "",
        "with clean pairs",
        "with clean pairs and labels",
        "with the suspect training pairs",
        "with the suspect training pairs and a segmenter",
        "declared oracle: knows the true trigger",
    ]
    rows = {row.title: row for row in first.rows}
    assert len(rows) == len(fake_zoo.REPAIRS) + 1
    assert rows["CleanCLIP"].needs == "clean pairs, optimiser state of pre-training, text augmentation (EDA)"
    texts = [entry.text for entry in rows["PAR"].entries]
    assert texts == ["68.2", "68.2 / 2.9", "68.2 / 2.6", "–", "68.2 / 2.8", "68.2 / 2.9", "67.8 / 2.9"]
    assert rows["PAR"].entries[1].loss == pytest.approx(0.03, abs=1e-3)
    assert rows["RVPT"].entries[1].text == "n/a"
    assert "vision transformer" in rows["RVPT"].entries[1].tooltip
    assert rows["Heavy weight decay"].entries[2].text == "failed"
    assert rows["PAR"].entries[3].off == "did not plant"
    assert first.attacks[-1] == ("Quantisation", "in int8")


def test_objectives_side_by_side(results: Results) -> None:
    matrix = objective_matrix(results.cells, names(results), results.cards)
    assert matrix is not None
    assert [row.title for row in matrix.rows] == ["MMCL", "MMCL+SSL", "SafeCLIP", "SafeCLIP (variant=intended)", "ABL"]
    assert matrix.rows[0].entries[3].text == "71.0 / 31.2"
    assert matrix.rows[0].entries[3].off == "did not plant"


def test_nothing_is_best_across_threat_models(results: Results) -> None:
    rule = Rule(0.05, "judged_net_asr", "cleanclip(epochs=5)")
    first, _ = objective_cards(results.cells, names(results), results.cards.repair, rule=rule)
    assert len(first.models) == 4  # the declared oracle takes no part
    line = first.lines[0]
    assert [best.repair if best else None for best in line.best] == ["PAR", "Supervised fine-tuning", "UBT", "EftCLIP"]
    assert [best.within for best in line.best if best] == [True, False, False, False]
    assert first.lines[2].status == "attack did not plant"
    assert first.lines[2].best == [None] * 4


def test_without_cards_the_board_still_stands(bare: Results, tmp_path: Path) -> None:
    assert bare.cards == Cards()
    (model, _), (group, rows) = repair_matrices(bare.cells, names(bare), bare.cards)[0].groups
    assert (model, group, len(rows)) == ("", "", len(fake_zoo.REPAIRS))
    found = found_in(bare)
    assert {line.detector for group in found.filters for line in group.lines} == {"clipscore", "slof", "dao"}
    assert {line.detector for group in found.inputs for line in group.lines} == {"strip", "bdetclip"}
    assert [judge.detector for judge in found.models] == ["decree"]


def test_needs_in_words() -> None:
    suite = {"methods": {"repair": {"x": {"needs": ["trigger", "clean_pairs", "moon"], "external": ["<b>"]}}}}
    card = cards_of(suite).repair["x"]
    assert needs_text(card) == "clean pairs, the true trigger, moon, <b>"
    assert threat_model(card).startswith("declared oracle")
    assert threat_model(Card(title="t")) == "with nothing but the model"
    assert threat_model(Card()) == ""
    assert cards_of({"methods": None}) == Cards()


def test_only_fields_that_differ_are_named() -> None:
    found = titles(
        ["wanet(grid=4,target=bird)", "wanet(grid=224,target=bird)", "sig(target=bird)", "dao", "dao(retrain=True)"],
        {"wanet": "WaNet", "sig": "SIG", "dao": "DAO"},
    )
    assert list(found.values()) == ["WaNet (grid=4)", "WaNet (grid=224)", "SIG", "DAO", "DAO (retrain=True)"]
    assert list(titles(["x(a=1,b=[1, 2])", "x(a=1,b=[1, 3])"]).values()) == ["x (b=[1, 2])", "x (b=[1, 3])"]
    assert len(set(titles(["x(a=1)", "x(a=1,)"]).values())) == 2


# --- detectors ---------------------------------------------------------------------------------------------------


def test_filters_and_what_they_leave(results: Results) -> None:
    found = found_in(results)
    groups = {(group.objective, group.attack): group for group in found.filters}
    badnet = groups["MMCL", "BadNet"]
    assert badnet.about == "340 poisoned of 17\u202f000 pairs; undefended CA 71.2, ASR 97.0"
    lines = {line.detector: line for line in badnet.lines}
    dao = lines["DAO"].numbers
    assert (dao["auroc"].text, dao["poisons_left_at_5pct"].text) == ("0.985", "22")
    assert dao["poisons_left_at_5pct"].tooltip == "of 340"
    assert (dao["retrained_asr"].text, dao["retrained_asr"].note) == ("7.8", "−89.2")
    assert lines["DAO"].note == "retrained without 5 %"
    assert lines["SLOF"].numbers["retrained_asr"].text == "–"
    assert [line.detector for line in groups["MMCL", "clean twin"].lines] == ["DAO"]
    off = groups["MMCL", "WaNet (grid=4)"].off
    assert off is not None and off.status == "attack did not plant"
    assert badnet.off is None


def test_detectors_of_images_and_their_false_alarms(results: Results) -> None:
    found = found_in(results)
    assert "clean twin" not in {group.attack for group in found.inputs}
    group = next(group for group in found.inputs if (group.objective, group.attack) == ("MMCL", "BadNet"))
    strip = group.lines[0].numbers
    assert [strip[name].text for name in ("auroc", "tpr_at_1pct_fpr", "realised_fpr_at_1pct")] == [
        "0.660",
        "16.0",
        "1.3",
    ]
    assert strip["false_alarms"].tooltip.startswith("26 of 2000; 95 % Wilson interval")
    lost = next(group for group in found.inputs if (group.objective, group.attack) == ("MMCL+SSL", "WaNet (grid=224)"))
    assert (lost.lines[0].status, lost.lines[0].reason) == ("missing", "no record in this store")
    assert lost.off is None  # the other detector has numbers


def test_models_are_judged_against_their_twins(results: Results) -> None:
    (judge,) = found_in(results).models
    scored = results.detections[results.detections["suspicion"].notna()]
    expected = roc_auc_score(scored["attack"] != "none", scored["suspicion"])
    assert judge.auroc.sort == pytest.approx(expected)
    assert judge.counts == ("9 of 11 attacked models called suspicious, 0 of 2 clean twins; target named 7 of 9 times")
    verdicts = {(one.objective, one.attack): one for one in judge.verdicts}
    assert (verdicts["MMCL", "TDPA"].flagged, verdicts["MMCL", "TDPA"].right) == ("not suspicious", False)
    assert (verdicts["MMCL", "clean twin"].flagged, verdicts["MMCL", "clean twin"].right) == ("not suspicious", True)
    assert verdicts["MMCL", "SIG"].target == "another class"
    assert verdicts["MMCL", "WaNet (grid=4)"].status == "attack did not plant"


def test_auroc_equals_scikit_learn() -> None:
    positives, negatives = [0.3, 0.5, 0.5, 0.9], [0.1, 0.5, 0.4]
    expected = roc_auc_score([1] * 4 + [0] * 3, positives + negatives)
    assert auroc(positives, negatives) == pytest.approx(expected)
    assert math.isnan(auroc([], negatives))


def test_several_seeds_are_means_without_intervals(tmp_path: Path) -> None:
    found = compile_suite(store_of(tmp_path, seeds=(0, 1)), "zoo")
    groups = found_in(found).inputs
    number = groups[0].lines[0].numbers["tpr_at_1pct_fpr"]
    assert (number.text, number.note, number.tooltip) == ("16.0", "", "mean over 2 seeds")


def test_chosen_images_have_their_numbers_by_unit(results: Results) -> None:
    tables = measure_tables(results, names(results))
    (found,) = [one for one in tables if "TDPA mean rank" in " ".join(one.columns)]
    rows = {(row.shown["objective"], row.shown["repair"], row.shown["rule"]): row for row in found.rows}
    texts = [number.text for number in rows["MMCL", "none", "undefended"].numbers]
    assert texts == ["0.12", "97.0", "100.0", "100.0"]
    assert rows["MMCL", "PAR", "default"].numbers[1].tooltip.startswith("3 of 100;")
    assert {row.shown["attack"] for row in found.rows} == {"TDPA"}


def test_reasons_are_gathered_and_exact(results: Results) -> None:
    found = reasons(results.cells, results.detections, names(results))
    off = pd.concat([results.cells, results.detections])
    assert sum(one.rows for one in found) == (off["status"] != "ok").sum()
    said = {(one.status, one.methods[0]): one for one in found}
    assert said["failed", "Heavy weight decay"].models == ["MMCL: SIG", "MMCL+SSL: SIG"]
    assert said["not applicable", "RVPT"].models[1] == "MMCL+SSL: all 7 models"
    planted = said["attack did not plant", "undefended"]
    assert (len(planted.methods), planted.models) == (1 + 13 + 6, ["MMCL: WaNet (grid=4)"])
    assert said["missing", "STRIP"].models == ["MMCL+SSL: WaNet (grid=224)"]


# --- the page, the figures, the files ----------------------------------------------------------------------------


def test_the_page_has_every_section(page: str) -> None:
    text = re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", " ", page)))
    for words in (
        "Overview: defenses against attacks",
        "declared oracle: knows the true trigger",
        "Filters on training pairs",
        "340 poisoned of 17\u202f000 pairs",
        "Detectors of triggered images",
        "9 of 11 attacked models called suspicious",
        "Searches against Quantisation are not drawn",
        "RVPT needs a vision transformer",
        "optimiser state of pre-training",
    ):
        assert re.sub(r"\s+", " ", words) in text, words
    ids = re.findall(r' id="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert {target[1:] for target in re.findall(r'href="(#[^"]+)"', page)} <= set(ids)
    assert 'data-detector="' not in page  # the grid is that of the repairs


def test_files_hold_detectors_too(board: Path) -> None:
    records = pd.read_csv(board.parent / "records.csv")
    assert (records["detector"] != "none").sum() == sum(cell["detector"] != "none" for cell in fake_zoo.grid())
    assert not [name for name in records.columns if name.startswith("judged_")]
    measures = pd.read_csv(board.parent / "measures.csv")
    assert {"auroc", "suspicion", "attack_success_rate@int8"} <= set(measures["name"])
    for name in ("repairs-0", "repairs-1", "detectors"):
        assert all((board.parent / "figures" / f"{name}.{kind}").stat().st_size > 0 for kind in ("pdf", "svg", "png"))


def test_markdown_tables_hold_together(board: Path) -> None:
    text = (board.parent / "tables.md").read_text(encoding="utf-8")
    assert "| PAR | clean pairs, a copy of the model | 68.2 | 68.2 / 2.9 (PA 66.2, net +0.8) |" in text
    blocks = [block for block in text.split("\n\n") if block.startswith("|")]
    assert len(blocks) >= 9
    for block in blocks:
        widths = {len(re.findall(r"(?<!\\)\|", line)) for line in block.strip().splitlines()}
        assert len(widths) == 1, block[:200]


def test_hostile_texts_stay_texts(tmp_path: Path) -> None:
    cells = [fake_zoo.cell("mmcl", "none"), fake_zoo.cell("mmcl", f"badnet(x={fake_suite.HOSTILE})")]
    cells.append(fake_zoo.cell("mmcl", cells[1]["attack"], detector=f"strip(x={fake_suite.HOSTILE})"))
    store = Store(tmp_path / "store")
    fake_zoo.write(store, cells[:1])
    bad = fake_suite.record(cells[2], "default", status="not_applicable", reason=f"{fake_suite.HOSTILE}\n| a | `b`")
    draft = store.draft("record", cells[2]["record"])
    pq.write_table(pa.Table.from_pylist([bad], schema=RECORDS), draft.path("records.parquet"))
    draft.commit({})
    document = store.read_json("suites/zoo.json")
    assert document is not None
    card = {"title": fake_suite.HOSTILE, "needs": [fake_suite.HOSTILE], "unit": "input", "summary": fake_suite.HOSTILE}
    document |= {"cells": cells, "methods": {"detector": {cells[2]["detector"]: card}}}
    store.write_json("suites/zoo.json", document)
    page = write_board(store, "zoo", tmp_path / "board").read_text(encoding="utf-8")
    assert fake_suite.HOSTILE not in page
    assert page.count("<script>") == 1
    tables = (tmp_path / "board" / "tables.md").read_text(encoding="utf-8")
    assert "<script>" not in re.sub(r"\\<", "", tables)
    assert escape("a|b\n*c*") == r"a\|b \*c\*"


def test_heat_maps_show_the_numbers_of_the_tables(results: Results) -> None:
    matrix = repair_matrices(results.cells, names(results), results.cards)[0]
    figure = repair_map(matrix)
    assert figure.get_figwidth() == style.PAGE_WIDTH
    rates, losses = figure.axes
    assert [patch.get_fill() for patch in rates.patches].count(True) == 6 * 14
    costly = [entry.costly for row in matrix.rows for entry in row.entries[1:]]
    assert [bool(patch.get_hatch()) for patch in rates.patches].count(True) == costly.count(True) > 0
    assert [text.get_text() for text in rates.texts[:6]] == ["97", "87", "31", "92", "97", "97"]
    assert rates.patches[0].get_alpha() == pytest.approx(0.6 * 0.97, abs=1e-3)
    par = [row.title for row in matrix.rows].index("PAR")
    assert [text.get_text() for text in losses.texts[7 * par : 7 * par + 2]] == ["3", "3"]
    found = found_in(results)
    panels = detector_map([*found.filters, *found.inputs], detector_scales(results.measures)["auroc"]).axes
    assert [panel.get_title(loc="left") for panel in panels] == ["MMCL", "MMCL+SSL"]
    assert [text.get_text() for text in panels[0].texts[:2]] == [".93", ".93"]
