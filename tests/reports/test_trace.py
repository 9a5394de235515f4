"""A number of the board is traced by files alone: another reader, who has only the store, finds each one again."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmark.store.artifacts import Store
from benchmark.store.schemas import OUTCOMES
from reports.board import write_board
from tests.helpers import recompute

OURS = {"benchmark", "reports", "tuners", "suites", "tests", "torch", "ray"}


def traced(store: Path, board: Path) -> subprocess.CompletedProcess[str]:
    """The reader as a process of its own, which says what modules it loaded."""
    script = Path(recompute.__file__)
    words = [sys.executable, "-I", str(script), str(store), "smoke", str(board)]
    return subprocess.run(words, capture_output=True, text=True, cwd="/", check=False)


@pytest.fixture(scope="module")
def board(miniature_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_board(Store(miniature_store), "smoke", tmp_path_factory.mktemp("board")).parent


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_every_number_of_the_board_is_found_again_from_files_without_our_code(
    miniature_store: Path, board: Path
) -> None:
    done = traced(miniature_store, board)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert not OURS & set(said["modules"])
    compared = said["compared"]
    assert set(compared) == {"measure", "manifest", "rule", "epochs", "lost", "grid", "gap", "measures in the table"}
    assert compared["measure"] > 4000 and compared["epochs"] > 200 and compared["rule"] > 100


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_reader_finds_a_single_changed_outcome(miniature_store: Path, board: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    shutil.copytree(miniature_store, store)
    record = next(store.glob("record/*/*/records.parquet"))
    (source,) = [one for one in pq.read_table(record).to_pylist()[0]["sources"] if one["role"] == "own_clean"]
    table = next(store.glob(f"evaluate/{source['key']}/*/outcomes.parquet"))
    rows = pq.read_table(table).to_pylist()
    rows[0]["predicted"] = rows[0]["true_class"] if rows[0]["predicted"] != rows[0]["true_class"] else -1
    os.remove(table)
    pq.write_table(pa.Table.from_pylist(rows, schema=OUTCOMES), table)
    done = traced(store, board)
    assert done.returncode == 1 and "the files give" in done.stderr


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_example_of_the_docs_gives_the_boards_numbers(miniature_store: Path, board: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "records.md").read_text()
    (example,) = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    words = [sys.executable, "-I", "-c", example]
    done = subprocess.run(words, capture_output=True, text=True, cwd=miniature_store.parent, check=True)
    said = dict(line.split() for line in done.stdout.splitlines())
    records = pd.read_csv(board / "records.csv")
    row = records[records["attack"] != "none"].iloc[0]
    assert float(said["CA"]) == pytest.approx(row["clean_accuracy"], abs=1e-12)
    assert float(said["ASR"]) == pytest.approx(row["attack_success_rate"], abs=1e-12)
