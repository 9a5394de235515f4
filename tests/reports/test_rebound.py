"""The course of a trajectory by hand, and the board's part about rebounds."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmark.config.spec import Suite
from benchmark.engine.document import write_suite
from benchmark.stages.keys import cells_of
from benchmark.stages.rebounds import controls, rebound_of, trajectories
from benchmark.store.artifacts import Store
from reports.board import write_board
from reports.columns import decode
from reports.compile import compile_suite
from reports.grid import names_of
from reports.rebound import area, course, rebound_part, revival
from reports.rebound_curves import rebound_curves
from tests.helpers import finished, rebounds
from tests.helpers.recompute import table_data

pytestmark = pytest.mark.unit


@pytest.fixture
def suite() -> Suite:
    return rebounds.suite()


@pytest.fixture
def store(suite: Suite, tmp_path: Path) -> Store:
    return rebounds.finish(tmp_path / "store", suite)


def test_the_area_is_the_mean_height_and_linear_in_steps() -> None:
    steps = np.array([0, 5, 10, 20, 50, 100, 200, 300])
    assert area(steps, np.full(8, 0.4)) == pytest.approx(0.4)
    assert area(steps, steps / 300) == pytest.approx(0.5)
    # 0 to 1 over a tenth of the steps, then 1: 0.05 + 0.9
    assert area(np.array([0, 30, 300]), np.array([0.0, 1.0, 1.0])) == pytest.approx(0.95)


@pytest.mark.parametrize(
    ("rates", "step"),
    [([0.0, 0.1, 0.19], None), ([0.0, 0.2, 0.9], 10), ([0.3, 0.1, 0.1], 0), ([0.0, 0.1, 0.25], 20)],
)
def test_the_revival_step_is_the_first_with_a_fifth(rates: list[float], step: int | None) -> None:
    assert revival(np.array([0, 10, 20]), np.array(rates)) == step


def test_a_course_by_hand() -> None:
    rows = pd.DataFrame(
        {
            "step": [0, 10, 40],
            "attack_success_rate": [0.1, 0.5, 0.3],
            "net_asr": [0.08, 0.46, 0.29],
            "clean_accuracy": [0.7, 0.75, 0.65],
        }
    )
    found = course(rows, 40)
    assert found[:2] == (0.1, 0.5)
    assert found.area == pytest.approx((0.3 * 10 + 0.4 * 30) / 40)
    assert (found.revival, found.net, found.accuracy, found.kept) == (10, 0.46, 0.7, 0.65)
    assert math.isnan(course(rows, 80).area)  # it ended before


def test_a_row_for_each_look_with_what_the_twin_shows_then(store: Store, suite: Suite) -> None:
    rebounds.grow_all(store, suite)
    found = compile_suite(store, suite.name).rebounds
    assert (found.wanted, found.found) == (2, 2)
    rows = found.rows[found.rows["learning_rate"] == 1e-3]
    assert len(found.rows) == 2 * len(rows) == 2 * 3 * 3
    shown = dict(iter(rows.groupby("role")))
    assert shown["repaired"]["net_asr"].tolist() == pytest.approx([0.08, 0.46, 0.24])
    assert shown["undefended"]["net_asr"].tolist() == pytest.approx([0.88, 0.86, 0.84])
    assert shown["clean_twin"]["net_asr"].tolist() == [0.0, 0.0, 0.0]
    own = shown["repaired"].iloc[1]
    assert (own["attack_success_rate_count"], own["attack_success_rate_total"], own["step"]) == (50, 100, 10)
    assert (own["clean_accuracy"], own["selection"], own["seed"]) == (0.7, "default", 0)
    assert own["cell"] == rebounds.repaired(suite).keys.record
    assert set(shown["clean_twin"]["selection"]) == {"undefended"}


def test_trajectories_that_the_suite_does_not_ask_for_are_left_out(store: Store, suite: Suite) -> None:
    keys = set(rebounds.grow_all(store, suite))
    cell, asked = rebounds.repaired(suite), rebound_of(suite)
    assert asked is not None
    for fields in ({"steps": (0, 10, 30)}, {"batch_size": 8}, {"scope": "projection"}, {"learning_rate": 0.5}):
        other = trajectories(asked)[0].model_copy(update=fields)
        rebounds.grow(store, cell, rebounds.weights(cell), other, [99, 99, 99])
    assert set(compile_suite(store, suite.name).rebounds.rows["trajectory"]) == keys


def test_the_part_says_what_is_missing_and_what_ended_before(store: Store, suite: Suite) -> None:
    cell, asked = rebounds.repaired(suite), rebound_of(suite)
    assert asked is not None
    first, _ = trajectories(asked)
    rebounds.grow(store, cell, rebounds.weights(cell), first, [10, 50], reason="no number", status="failed")
    results = compile_suite(store, suite.name)
    part = rebound_part(results.rebounds, names_of(results.cells, cards=results.cards), results.suite)
    assert part is not None
    assert part.missing == "1 of 2 trajectories of repaired models are not there"
    (table,) = part.tables
    (row,) = table.rows  # no control is there
    assert (table.title, row.revival, row.note) == ("All weights at 0.001", "10", "no number")
    assert [number.text for number in row.numbers] == ["10.0", "50.0", "+40.0", "–", "–", "80.0", "70.0", "−10.0"]


def test_the_board_shows_curves_tables_and_every_look(store: Store, suite: Suite, tmp_path: Path) -> None:
    rebounds.grow_all(store, suite)
    page = write_board(store, suite.name, tmp_path / "board").read_text(encoding="utf-8")
    assert '<section id="rebound"' in page and '<a href="#rebound">' in page
    assert page.count('aria-label="Rebound: ') == 2
    drawn = {path.name for path in (tmp_path / "board" / "figures").glob("rebound-*")}
    assert drawn == {f"rebound-{place}.{kind}" for place in (0, 1) for kind in ("pdf", "png", "svg")}
    assert len(pd.read_csv(tmp_path / "board" / "rebound.csv")) == 18
    part = (tmp_path / "board" / "tables.md").read_text(encoding="utf-8").split("## Rebound")[1].split("\n## ")[0]
    rows = [line for line in part.splitlines() if line.startswith("| MMCL | BadNet")]
    # ASR first, highest, rise, area (0.3 and 0.4 over ten steps each), highest net, revival, CA first, last, change
    repaired = "MMCL fine-tuning | default | 10.0 | 50.0 | +40.0 | 35.0 | +46.0 | 10 | 80.0 | 60.0 | −20.0"
    assert [repaired in row for row in rows] == [False, False, True] * 2
    assert "undefended" in rows[0] and "clean twin" in rows[1]


def test_a_board_without_trajectories_says_nothing_of_them_and_removes_those_of_before(
    store: Store, suite: Suite, tmp_path: Path
) -> None:
    figures = tmp_path / "board" / "figures"
    figures.mkdir(parents=True)
    for stale in (figures / "rebound-0.svg", tmp_path / "board" / "rebound.csv"):
        stale.write_text("of before")
    page = write_board(store, suite.name, tmp_path / "board").read_text(encoding="utf-8")
    assert 'id="rebound"' not in page and "#rebound" not in page
    assert not list((tmp_path / "board").rglob("*rebound*"))
    assert "Rebound" not in (tmp_path / "board" / "tables.md").read_text(encoding="utf-8")


def test_seeds_are_averaged_and_their_spread_is_drawn(tmp_path: Path) -> None:
    suite = rebounds.suite(rebound=rebounds.ASKED.model_copy(update={"seeds": None}))
    store = rebounds.finish(tmp_path / "store", suite)
    asked = rebound_of(suite)
    assert asked is not None
    first, _ = trajectories(asked)
    attacked = [cell for cell in cells_of(suite) if cell.experiment.attack and cell.experiment.repair]
    for cell, hits in zip(attacked, ([10, 50, 30], [0, 10, 12]), strict=True):
        rebounds.grow(store, cell, rebounds.weights(cell), first, hits)
        rebounds.grow(store, cell, controls(cell)[1], first, [2, 2, 2])
    results = compile_suite(store, suite.name)
    names = names_of(results.cells, cards=results.cards)
    part = rebound_part(results.rebounds, names, results.suite)
    assert part is not None
    _, row = part.tables[0].rows
    assert [number.text for number in row.numbers[:5]] == ["5.0", "31.0", "+26.0", "21.5", "+29.0"]
    assert (row.revival, row.note) == ("10, –", "")
    (axes,) = rebound_curves(results.rebounds.rows, names).axes
    line = next(line for line in axes.lines if len(line.get_xdata()) == 3 and line.get_linewidth() == 1.4)
    assert list(line.get_ydata()) == pytest.approx([5.0, 30.0, 21.0])
    assert len(axes.collections) == 2  # a band each


def test_a_document_of_before_has_no_rebound(store: Store, suite: Suite) -> None:
    rebounds.grow_all(store, suite)
    bare = suite.model_copy(update={"rebound": None})
    write_suite(store, bare, cells_of(bare), command="backstop run", environment={})
    document = store.read_json(f"suites/{suite.name}.json")
    assert "rebound" not in json.dumps(document)
    assert compile_suite(store, suite.name).rebounds.rows.empty


def test_the_table_of_methods_has_the_highest_asr_of_the_first_trajectory(
    store: Store, suite: Suite, tmp_path: Path
) -> None:
    rebounds.grow_all(store, suite)
    page = write_board(store, suite.name, tmp_path / "board").read_text(encoding="utf-8")
    data = table_data(page)
    title, about, means = data["optional"]["rebound"]
    assert (title, about) == ("Rebound", "highest ASR")
    assert means == "highest ASR along a benign fine-tuning: all weights at 0.001"
    columns = {name: decode(column, data["length"]) for name, column in data["columns"].items()}
    rows = zip(*(columns[name] for name in ("attack", "repair", "seed", "rebound")), strict=True)
    found = {row[:3]: row[3] for row in rows if row[3] is not None}
    attack, repair = finished.ATTACK.label, rebounds.repaired(suite).experiment.repair
    assert repair and found == {(attack, "none", 0): 0.9, (attack, repair.label, 0): 0.5}
