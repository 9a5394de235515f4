"""A declared strength that is none: it voids the trigger-blind row of its own cell, and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from reports.board import write_board
from reports.compile import compile_suite
from reports.grid import grid_rows
from reports.headline import headline, repair_gaps
from reports.ranking import rankings
from reports.strength import reversed_strength, void_rules
from tests.helpers import fake_suite
from tests.helpers.fake_suite import BADNET, BLENDED

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("number", [6, 9, 16])
def test_the_correlation_is_spearmans_and_the_test_is_as_strict_as_it_says(number: int) -> None:
    rng, told = np.random.default_rng(number), 0
    for _ in range(200):
        strength, asr = rng.uniform(size=number), rng.uniform(size=number).round(1)  # with ties
        found = reversed_strength(strength, asr)
        told += bool(found)
        expected = stats.spearmanr(strength, asr)
        if found:
            assert f"rank correlation {expected.statistic:+.2f} over {number} trials" in found
            assert stats.spearmanr(strength, asr, alternative="greater").pvalue < 0.02
        elif number > 6:  # the t approximation of so few is rough
            assert stats.spearmanr(strength, asr, alternative="greater").pvalue > 0.002
    assert told <= 7  # of 200 at 1 %


def test_few_trials_and_equal_ones_tell_nothing() -> None:
    rising = np.arange(6.0)
    assert reversed_strength(rising, rising)
    assert not reversed_strength(rising[:5], rising[:5])
    assert not reversed_strength(rising, np.ones(6)) and not reversed_strength(np.ones(6), rising)
    assert not reversed_strength(rising, -rising)


def trials(strength: Any, asr: Any, **more: Any) -> Any:
    number = len(strength)
    frame = {"order": 3, "trial": range(number), "phase": "quasi_random", "epoch": 1, "collapsed": False}
    return pd.DataFrame(frame | {"strength": strength, "validation_asr": asr} | more)


def test_the_last_epoch_of_trials_that_never_saw_attack_success_counts() -> None:
    rising = np.arange(8.0)
    assert list(void_rules(trials(rising, rising))) == [3]
    assert void_rules(trials(rising, rising, phase="tpe")) == {}
    assert void_rules(trials(rising, rising, collapsed=True)) == {}
    later = trials(rising, -rising, epoch=2)
    assert void_rules(pd.concat([trials(rising, rising), later], ignore_index=True)) == {}
    assert void_rules(trials([None] * 8, rising)) == {}  # none declared


def test_the_board_shows_a_void_row_and_leaves_every_other_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cells = fake_suite.grid((BADNET, BLENDED), (0, 1, 2))
    honest = compile_suite(fake_suite.make_store(tmp_path / "honest", cells), "demo")
    assert set(honest.cells["void"]) == {""}
    turned, real = fake_suite.find(cells, "mmcl", BADNET, "cleanclip"), fake_suite.trials

    def misdeclared(entry: dict[str, Any]) -> list[dict[str, Any]]:
        rows = real(entry)
        return [row | {"strength": -row["strength"]} for row in rows] if entry == turned else rows

    monkeypatch.setattr(fake_suite, "trials", misdeclared)
    store = fake_suite.make_store(tmp_path / "store", cells)
    page = write_board(store, "demo", tmp_path / "board").read_text(encoding="utf-8")
    found = compile_suite(store, "demo")
    void = found.cells[found.cells["void"] != ""]
    (row,) = void.itertuples(index=False)
    assert (row.cell, row.selection) == (turned["cell"], "trigger_blind")
    assert row.void.startswith("void: more of its declared strength left more of the backdoor (rank correlation +")
    assert found.cells.drop(columns="void").equals(honest.cells.drop(columns="void"))

    names = fake_suite.names(found)
    before, after = (
        [row for one in rankings(results.cells, names, results.cards) for row in one.rows]
        for results in (honest, found)
    )
    assert [row._replace(blind="") for row in after] == [row._replace(blind="") for row in before]
    assert [row.title for row in after if row.blind == "void"] == ["CleanCLIP"]
    (marked,) = [one for one in grid_rows(found.cells, names, bound=None, rate="net_asr") if "void" in one.marks]
    assert (marked.tone, marked.keys["rule"]) == ("warn", "trigger_blind")
    gap = repair_gaps(found.cells, list(dict.fromkeys(found.cells["objective"])))[0]
    blind = {one.attack: one.blind for one in headline(gap, found.cells, names).rows}
    assert [cell == "void" for cells in blind.values() for cell in cells].count(True) == 1
    assert row.void.replace("+", "+") in page and ">void</td>" in page
