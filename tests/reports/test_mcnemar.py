"""Which repaired models are told from the undefended one: against SciPy, and on outcomes that were really measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from scipy.stats import binomtest

from benchmark.store.artifacts import Store
from reports import mcnemar as tested
from reports.compile import JUDGED, Results, compile_suite
from reports.grid import grid_rows
from reports.mcnemar import Alike, alike, mcnemar
from tests.helpers.fake_suite import BADNET, names


@pytest.mark.parametrize(("lost", "gained"), [(0, 0), (1, 0), (5, 5), (20, 6), (3, 40), (400, 370)])
def test_mcnemar_is_scipys_exact_binomial_test(lost: int, gained: int) -> None:
    expected = binomtest(lost, lost + gained).pvalue if lost + gained else 1.0
    assert mcnemar(lost, gained) == pytest.approx(expected)
    assert mcnemar(lost, gained) == mcnemar(gained, lost)


def made_up(hits: dict[str, list[int]], results: Results, monkeypatch: pytest.MonkeyPatch) -> tuple[Any, Alike]:
    """Rows of BadNet after MMCL, and what is found of them where a repair hits these images."""
    cells = results.cells
    own = cells[
        (cells["objective"] == "mmcl")
        & (cells["attack"] == BADNET)
        & cells["selection"].isin(["undefended", "default"])
    ]
    by_row = {row.row: pd.Series(hits[row.repair], dtype=bool) for row in own.itertuples() if row.repair in hits}
    monkeypatch.setattr(tested, "_hits", lambda _, row: by_row.get(row.row))
    return own, alike(Store(Path("no")), own)


def test_rows_that_differ_by_less_than_chance_are_not_told_apart(
    results: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, cured = [1] * 40 + [0] * 10, [0] * 30 + [1] * 10 + [0] * 10
    moved = [0, 0, *[1] * 38, 1, *[0] * 9]  # two lost, one gained
    own, found = made_up({"none": whole, "cleanclip": cured, "fine-tuning": moved}, results, monkeypatch)
    said = {row.repair: row.row in found.rows for row in own.itertuples()}
    assert (said["cleanclip"], said["fine-tuning"], found.tested) == (False, True, 2)
    shown = grid_rows(own, names(results), bound=None, rate=f"{JUDGED}net_asr", alike=found.rows)
    assert {row.keys["repair"]: row.alike for row in shown} == said


def test_other_images_and_missing_outcomes_are_not_tested(results: Results, monkeypatch: pytest.MonkeyPatch) -> None:
    _, found = made_up({"none": [1] * 20, "cleanclip": [0] * 19}, results, monkeypatch)
    assert found == Alike()
    _, found = made_up({"cleanclip": [0] * 20}, results, monkeypatch)
    assert found == Alike()


def test_made_up_records_and_large_boards_are_not_tested(
    results: Results, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert alike(Store(tmp_path), results.cells) == Alike()
    monkeypatch.setattr(tested, "MOST", 1)
    monkeypatch.setattr(tested, "_hits", lambda *_: pytest.fail("a large board reads no outcomes"))
    assert alike(Store(tmp_path), results.cells) == Alike()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_hits_are_those_that_the_records_count(miniature_store: Path) -> None:
    store = Store(miniature_store)
    cells = compile_suite(store, "smoke").cells
    attacked = cells[(cells["attack"] != "none") & (cells["status"] == "ok")]
    checked = 0
    for row in attacked.itertuples(index=False):
        hits = tested._hits(store, row)
        assert (int(hits.sum()), len(hits)) == (row.attack_success_rate_count, row.attack_success_rate_total)
        checked += 1
    found = alike(store, cells)
    assert 0 < found.tested <= checked and found.rows <= set(attacked["row"])
