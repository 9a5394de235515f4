"""What the page is fed with: columns, the table of methods, files of cells, budgets of trials, the index of boards."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmark.stats import front_area
from benchmark.store.artifacts import Store
from reports.areas import Bound
from reports.board import write_board
from reports.budgets import budgets, budgets_of
from reports.columns import decode, encode, script_json
from reports.compile import Results, compile_suite
from reports.grid import names_of
from reports.ranking import rankings, scored
from reports.site import write_index
from reports.span import placed, span
from tests.helpers import fake_suite
from tests.helpers.pages import page_of
from tests.helpers.recompute import grid_of, table_data

THREE = (fake_suite.BADNET, fake_suite.BLENDED)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return fake_suite.make_store(tmp_path_factory.mktemp("site"), fake_suite.grid(THREE, (0, 1, 2)))


@pytest.fixture(scope="module")
def three(store: Store) -> Results:
    return compile_suite(store, "demo")


@pytest.fixture(scope="module")
def site(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("boards")
    page_of(store, "demo", folder / "demo")
    return folder


def cell_of(board: Path, key: str) -> dict[str, Any]:
    """What a cell's file hands to the page."""
    head, call = (board / "cells" / f"{key}.js").read_text(encoding="utf-8").split("\n", 1)
    assert re.fullmatch(r"// [0-9a-f]{64}", head)
    named, _, details = call.removeprefix("backstop.cell(").removesuffix(");\n").partition(", ")
    assert json.loads(named) == key
    return json.loads(details)


@pytest.mark.parametrize(
    ("values", "form"),
    [([1, 1, 1], "all"), (["a", "b"] * 8, "at"), ([0.5, 1.5, 2.5], "list"), ([], "all"), ([None, None], "all")],
)
def test_a_column_takes_its_shortest_form_and_comes_back(values: list[Any], form: str) -> None:
    column = encode(values)
    assert form in column
    assert decode(column, len(values)) == values


def test_numbers_of_a_column_are_short_and_what_is_none_is_null() -> None:
    assert encode([np.float64(1 / 3), float("nan"), 2.0]) == {"list": [0.333333, None, 2]}


def test_nothing_in_json_can_end_a_script() -> None:
    hostile = "</script><!--\u2028&"
    text = script_json([hostile])
    assert not set("<>&\u2028") & set(text)
    assert json.loads(text) == [hostile]


def test_the_table_knows_ranks_methods_and_scopes(site: Path, three: Results) -> None:
    data = table_data((site / "demo" / "index.html").read_text(encoding="utf-8"))
    (group,) = data["groups"]
    assert [row["label"] for row in group["rows"]] == ["cleanclip", "fine-tuning", "batch-norm-only", "none"]
    assert (group["objectives"], group["attacks"]) == ([*fake_suite.OBJECTIVES], [*THREE])
    assert {method["label"]: method["title"] for method in data["methods"]}["cleanclip"] == "CleanCLIP"
    assert len(data["keys"]) == len(data["orders"]) == three.cells["cell"].nunique()
    assert data["optional"] == {}  # no stage has given what these columns are for


def test_a_row_of_the_page_takes_few_bytes(site: Path) -> None:
    text = (site / "demo" / "index.html").read_text(encoding="utf-8")
    data = table_data(text)
    rows = {name: data[name] for name in ("columns", "keys", "orders")}
    assert len(script_json(rows)) < 250 * data["length"]


def test_every_cell_has_a_file_with_its_numbers_and_what_they_are_of(site: Path, three: Results) -> None:
    names = {path.stem for path in (site / "demo" / "cells").iterdir()}
    assert names == set(three.cells["cell"])
    entry = fake_suite.find(fake_suite.grid(THREE, (0, 1, 2)), "mmcl", fake_suite.BADNET, "cleanclip", 1)
    found = cell_of(site / "demo", entry["cell"])
    assert found["rules"] == ["default", "oracle", "trigger_blind"]
    lines = {(name, readout): values for name, readout, _, _, values in found["numbers"]}
    own = three.cells[three.cells["cell"] == entry["cell"]]
    for place, row in enumerate(own.itertuples()):
        value, count, total = lines["attack_success_rate", "zero_shot"][place]
        assert (value, count, total) == (round(row.attack_success_rate, 8), row.attack_success_rate_count, 1800)
    assert len(found["trials"]["trials"]) == 9
    assert [len(trial[4]) for trial in found["trials"]["trials"]] == [4] * 9
    assert found["facts"][1]["parameters"] == {"learning_rate": 3e-5, "epochs": 4}


def test_a_file_of_a_cell_is_written_again_only_where_something_changed(store: Store, tmp_path: Path) -> None:
    page_of(store, "demo", tmp_path)
    (tmp_path / "cells" / "gone.js").write_text("of a cell that left the suite")
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "cells").iterdir()}
    first = min(before)
    damaged = (tmp_path / "cells" / first).read_text().replace("// ", "// 0", 1)
    (tmp_path / "cells" / first).write_text(damaged)
    page_of(store, "demo", tmp_path)
    after = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "cells").iterdir()}
    assert "gone.js" not in after
    assert (tmp_path / "cells" / first).read_text() != damaged
    assert {name: time for name, time in after.items() if name != first} == {
        name: time for name, time in before.items() if name not in (first, "gone.js")
    }


def test_a_cell_names_the_traceback_that_a_run_left(tmp_path: Path) -> None:
    cells = fake_suite.grid((), (0,))
    store = fake_suite.make_store(tmp_path / "store", cells, {cells[1]["cell"]: None})
    (tmp_path / "store" / "logs").mkdir()
    (tmp_path / "store" / "logs" / f"record-{cells[1]['cell']}.txt").write_text("Traceback")
    page_of(store, "demo", tmp_path / "board")
    assert cell_of(tmp_path / "board", cells[1]["cell"])["logs"] == [f"logs/record-{cells[1]['cell']}.txt"]
    assert cell_of(tmp_path / "board", cells[0]["cell"])["logs"] == []


def test_a_budget_is_the_first_trials_and_the_last_is_all(three: Results) -> None:
    assert budgets_of(three.trials) == [1, 2, 4, 8, 9]
    found = budgets(three.cells, three.trials, Bound(0.05, True))
    assert len(found) == three.trials["order"].nunique()
    one = found[0]
    assert one.areas == sorted(one.areas)  # more trials never find less
    trials = three.trials[(three.trials["order"] == one.order) & (three.trials["trial"] < 2)]
    start = three.cells[three.cells["selection"] == "undefended"]
    where = trials.iloc[0]
    place = (start["objective"] == where["objective"]) & (start["attack"] == where["attack"])
    net = start.loc[place & (start["seed"] == where["seed"]), "net_asr"].iloc[0]
    points = np.c_[trials["validation_accuracy"], trials["validation_asr"] - trials["validation_floor"]]
    assert one.areas[1] == pytest.approx(front_area((where["validation_start"], net), points))
    within = trials[trials["validation_asr"] - trials["validation_floor"] <= 0.05]
    best = within["validation_accuracy"].max() / where["validation_start"] - 1
    assert one.cuts[1] == pytest.approx(best) if len(within) else np.isnan(one.cuts[1])


def test_figures_that_are_as_before_are_not_drawn_again(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = write_board(store, "demo", tmp_path)
    text, drawn = page.read_bytes(), []
    monkeypatch.setattr("reports.style.save", lambda figure, stem: drawn.append(stem.name) or [])
    (tmp_path / "figures" / "repair-gap.pdf").unlink()
    assert write_board(store, "demo", tmp_path).read_bytes() == text
    assert drawn == ["repair-gap"]


def test_the_index_lists_every_board_that_stands_in_a_folder(site: Path, store: Store) -> None:
    page_of(store, "demo", site / 'older "<b>"')
    (site / "no board").mkdir()
    path = write_index(site)
    assert path is not None
    text = path.read_text(encoding="utf-8")
    assert re.findall(r'<th scope="row"><a href="([^"]+)">', text) == [
        "demo/index.html",
        "older%20%22%3Cb%3E%22/index.html",
    ]
    assert "<b>" not in text.split("<body>")[1].replace("<body>", "")
    summary = json.loads((site / "demo" / "summary.json").read_text(encoding="utf-8"))
    assert html.escape(summary["answer"]) in text
    assert (summary["seeds"], summary["attacks"], summary["defenses"]) == (3, 2, 3)
    assert "http:" not in text and "https:" not in text


def test_methods_over_boards_repeat_what_each_board_says_and_mix_no_ranks(site: Path, three: Results) -> None:
    ranked = rankings(three.cells, names_of(three.cells, three.detections, three.cards), three.cards)
    methods = placed(ranked)
    assert [method["rank"] for method in methods] == [row.rank for table in ranked for row in table.rows]
    held = placed([ranked[0]._replace(title="with 1000 clean pairs and labels")])[0]
    assert (held["group"], held["held"]) == ("with clean pairs and labels", "1000 clean pairs")
    other = [dict(methods[-1], group="with labels", title="Another", rank="7")]
    boards = [
        {"folder": "a", "title": "A", "datasets": "shapes", "models": "tiny-resnet", "methods": methods},
        {"folder": "b", "title": "B", "datasets": "cifar10", "models": "tiny-vit", "methods": [*methods[:1], *other]},
        {"folder": "c", "title": "C", "datasets": "shapes", "models": "tiny-vit", "methods": []},  # none is ranked
    ]
    found = span(boards)
    assert found is not None
    assert [column.folder for column in found.columns] == ["a", "b"]
    assert (found.data, found.models) == (["shapes", "cifar10"], ["tiny-resnet", "tiny-vit"])
    assert [group.title for group in found.groups] == [methods[0]["group"], "with labels"]
    first = found.groups[0].rows[0]
    assert (first.title, [place.rank for place in first.places]) == (methods[0]["title"], [methods[0]["rank"]] * 2)
    assert all(row.places[1] is None for row in found.groups[0].rows[1:])
    assert [place and place.rank for place in found.groups[1].rows[0].places] == [None, "7"]
    assert span(boards[:1]) is None


def test_a_folder_without_a_board_has_no_index(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    assert write_index(tmp_path) is None
    assert not (tmp_path / "index.html").exists()


def test_scores_that_the_page_folds_are_those_of_the_ranking(site: Path, three: Results) -> None:
    """The page's rows hold all that a score is made of: the mean over seeds of what planted cells are left with."""
    rows = grid_of((site / "demo" / "index.html").read_text(encoding="utf-8"))
    own = [row for row in rows if row["repair"] == "cleanclip" and row["rule"] == "default" and row["net"] is not None]
    expected = scored(three.cells, "cleanclip")
    assert expected is not None
    assert np.mean([max(0.0, row["net"]) for row in own]) == pytest.approx(expected.score, abs=1e-6)
