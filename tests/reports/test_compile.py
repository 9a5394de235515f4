"""A suite read from its store: every cell and rule, every number from the records, and what is refused."""

from __future__ import annotations

import math
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest

from benchmark.errors import UserError
from benchmark.store.artifacts import Store
from benchmark.store.schemas import RECORDS
from reports import headline
from reports.board import write_board
from reports.compile import Results, compile_suite
from reports.figures import scene
from reports.further import measure_tables
from reports.grid import names_of
from reports.headline import repair_gaps
from reports.matrix import objective_matrix, repair_matrices
from reports.views import control_rows
from tests.helpers import fake_suite, fake_zoo
from tests.helpers.fake_suite import make_store


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
    with pytest.raises(UserError, match="did you mean demo"):
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


def test_detector_cells_stand_apart_and_none_is_lost(zoo: Results) -> None:
    cells = fake_zoo.grid()
    assert set(zoo.cells["detector"]) == {"none"}
    assert len(zoo.detections) == sum(cell["detector"] != "none" for cell in cells)
    assert set(zoo.cells["cell"]) | set(zoo.detections["cell"]) == {cell["cell"] for cell in cells}
    gone = zoo.detections[zoo.detections["status"] == "missing"]
    assert gone[["objective", "attack", "repair", "detector"]].to_numpy().tolist() == [list(fake_zoo.LOST)]
    assert gone["reason"].tolist() == ["no record in this store"]
    assert gone["selection"].tolist() == ["default"]


def test_repair_tables_are_those_of_a_suite_without_detectors(zoo: Results, tmp_path: Path) -> None:
    store = Store(tmp_path)
    fake_zoo.write(store, [cell for cell in fake_zoo.grid() if cell["detector"] == "none"])
    plain = compile_suite(store, "zoo")
    inner = ["order", "row"]
    pd.testing.assert_frame_equal(zoo.cells.drop(columns=inner), plain.cells.drop(columns=inner))
    ours, theirs = (headline.repair_gaps(each.cells, fake_zoo.OBJECTIVES) for each in (zoo, plain))
    assert ours == theirs
    controls = ("fine-tuning", "batch-norm-only")
    shown, alone = (control_rows(each.cells, fake_zoo.names(each), controls) for each in (zoo, plain))
    assert shown == alone
    assert measure_tables(zoo, fake_zoo.names(zoo)) == measure_tables(plain, fake_zoo.names(plain))


def test_numbers_of_detectors_are_those_of_the_records(zoo: Results) -> None:
    row = zoo.detections.query("detector == 'dao(retrain=True)' and objective == 'mmcl'")
    row = row[row["attack"] == fake_zoo.BADNET].iloc[0]
    assert row["auroc"] == 0.985
    assert (row["poisons_left_at_5pct"], row["poisons_left_at_5pct_total"]) == (22, 340)
    assert row["clean_accuracy"] == round(0.702 * 1800) / 1800  # of the model that was trained again
    assert math.isnan(row["suspicion"])


def test_other_rules_of_a_cell_that_was_not_run_share_its_reason(zoo: Results) -> None:
    searched = zoo.cells[zoo.cells["searched"].astype(bool)]
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
