"""`backstop studies`."""

from __future__ import annotations

import json
from pathlib import Path

import optuna
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmark.config.spec import Search
from benchmark.repairs.cleanclip import CleanCLIP
from benchmark.stages.keys import cells_of, defend_key
from benchmark.stages.trial import SearchCell, describe, repair_of
from benchmark.store.artifacts import Store
from benchmark.store.schemas import EPOCHS
from tests.cli.conftest import Call
from tests.helpers.finished import made_up
from tuners.queue import CellState
from tuners.studies import storage_at


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    """The file of a suite, in whose store three trials of its search have ended."""
    found = made_up(repairs=(CleanCLIP(),), searched={"cleanclip"}, search=Search(trials=4, quasi_random=4))
    store, cell = Store(tmp_path / "store"), cells_of(found)[-1]
    queue = CellState(describe(SearchCell(cell, 0.0, None), lambda key: None))
    for place, proposal in enumerate((queue.ask(), queue.ask(), queue.ask())):
        assert proposal is not None
        draft = store.draft("defend", defend_key(cell, repair_of(cell, proposal.parameters)))
        rows = [{"epoch": 1, "validation_accuracy": 0.5, "validation_asr": place / 10}]
        pq.write_table(pa.Table.from_pylist(rows, schema=EPOCHS), draft.path("epochs.parquet"))
        draft.commit({"status": "ok", "accuracy": 0.5, "asr": place / 10})
    file = tmp_path / "made-up.json"
    file.write_text(json.dumps(found.to_dict()))
    return file


def test_a_search_that_is_not_finished_is_a_study_of_the_trials_that_are(suite: Path, call: Call) -> None:
    store, url = str(suite.parent / "store"), f"sqlite:///{suite.parent}/studies.db"
    code, out, _ = call("studies", str(suite), "--store", store, "--storage", url)
    assert code == 0
    assert f"1 study of made-up in {url}" in out
    name = "made-up · tiny-resnet · mmcl · badnet(target=ring) · cleanclip · seed 0"
    study = optuna.load_study(study_name=name, storage=storage_at(url))
    assert [trial.values for trial in study.trials] == [[0.5, 0.0], [0.5, 0.1], [0.5, 0.2]]
    assert [trial.user_attrs["phase"] for trial in study.trials] == ["default", "quasi_random", "quasi_random"]
    assert study.trials[1].user_attrs["epochs"] == [[0.5, 0.1]]
    assert set(study.trials[1].params) == {"learning_rate", "ssl_weight"}


def test_a_program_is_told_how_many_trials_there_are(suite: Path, call: Call) -> None:
    place = str(suite.parent / "studies.log")
    code, out, _ = call("studies", str(suite), "--store", str(suite.parent / "store"), "--storage", place, "--json")
    assert code == 0
    told = json.loads(out)
    assert (told["storage"], list(told["studies"].values())) == (place, [3])


def test_mistakes_are_one_line(suite: Path, call: Call) -> None:
    words = ("studies", str(suite), "--storage", f"{suite.parent}/studies.log")
    code, _, err = call(*words, "--store", str(suite.parent / "empty"))
    assert (code, err.count("\n")) == (2, 1)
    assert "must have ended trials of made-up, got none" in err
    assert call(*words, "--store", str(suite.parent / "store"))[0] == 0
    code, _, err = call(*words, "--store", str(suite.parent / "store"))
    assert (code, err.count("\n")) == (2, 1)
    assert "without a study of that name" in err
