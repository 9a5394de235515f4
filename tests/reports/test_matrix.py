"""The overview: threat models apart, objectives side by side, heat maps of the same numbers."""

from __future__ import annotations

from pathlib import Path

import pytest

from reports import style
from reports.cards import Cards
from reports.compile import Results
from reports.detection import detector_scales
from reports.heatmaps import detector_map, repair_map
from reports.matrix import objective_matrix, repair_matrices
from reports.views import Rule, objective_cards
from tests.helpers import fake_zoo


def test_the_matrix_groups_by_what_the_defender_holds(zoo: Results) -> None:
    first, second = repair_matrices(zoo.cells, fake_zoo.names(zoo), zoo.cards)
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


def test_objectives_side_by_side(zoo: Results) -> None:
    matrix = objective_matrix(zoo.cells, fake_zoo.names(zoo), zoo.cards)
    assert matrix is not None
    assert [row.title for row in matrix.rows] == ["MMCL", "MMCL+SSL", "SafeCLIP", "SafeCLIP (variant=intended)", "ABL"]
    assert matrix.rows[0].entries[3].text == "71.0 / 31.2"
    assert matrix.rows[0].entries[3].off == "did not plant"


def test_nothing_is_best_across_threat_models(zoo: Results) -> None:
    rule = Rule(0.05, "judged_net_asr", "cleanclip(epochs=5)")
    first, _ = objective_cards(zoo.cells, fake_zoo.names(zoo), zoo.cards.repair, rule=rule)
    assert len(first.models) == 4  # the declared oracle takes no part
    line = first.lines[0]
    assert [best.repair if best else None for best in line.best] == ["PAR", "Supervised fine-tuning", "UBT", "EftCLIP"]
    assert [best.within for best in line.best if best] == [True, False, False, False]
    assert first.lines[2].status == "attack did not plant"
    assert first.lines[2].best == [None] * 4


def test_without_cards_the_board_still_stands(bare_zoo: Results, tmp_path: Path) -> None:
    assert bare_zoo.cards == Cards()
    (model, _), (group, rows) = repair_matrices(bare_zoo.cells, fake_zoo.names(bare_zoo), bare_zoo.cards)[0].groups
    assert (model, group, len(rows)) == ("", "", len(fake_zoo.REPAIRS))
    found = fake_zoo.found_in(bare_zoo)
    assert {line.detector for group in found.filters for line in group.lines} == {"clipscore", "slof", "dao"}
    assert {line.detector for group in found.inputs for line in group.lines} == {"strip", "bdetclip"}
    assert [judge.detector for judge in found.models] == ["decree"]


def test_heat_maps_show_the_numbers_of_the_tables(zoo: Results) -> None:
    matrix = repair_matrices(zoo.cells, fake_zoo.names(zoo), zoo.cards)[0]
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
    found = fake_zoo.found_in(zoo)
    panels = detector_map([*found.filters, *found.inputs], detector_scales(zoo.measures)["auroc"]).axes
    assert [panel.get_title(loc="left") for panel in panels] == ["MMCL", "MMCL+SSL"]
    assert [text.get_text() for text in panels[0].texts[:2]] == [".93", ".93"]
