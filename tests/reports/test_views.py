"""What stands beside the grid: the best at defaults, what is lost, floors, controls."""

from __future__ import annotations

from pathlib import Path

import pytest

from reports.compile import Results, compile_suite
from reports.floors import floor_rows
from reports.grid import grid_rows
from reports.heatmaps import repair_map
from reports.matrix import repair_matrices
from reports.views import best_default, control_rows
from tests.helpers import fake_suite
from tests.helpers.fake_suite import make_store, names
from tests.helpers.pages import page_of
from tests.helpers.recompute import grid_of


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
    page = page_of(store, "demo", tmp_path / "board")
    assert "none that keeps its CA" in page and 'class="num heat costly"' in page
    assert "lowest ASR of those that keep their CA: CleanCLIP" in page  # another has a lower one, and lost its accuracy
    marked = [row for row in grid_of(page) if row["marks"].startswith("CA 61.2 points below undefended")]
    assert [(row["repair"], row["status"], row["tone"]) for row in marked] == [("fine-tuning", "ok", "warn")]


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
    assert {row["repaired_floor"] for row in grid_of(page)} == {0.05, None}
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
