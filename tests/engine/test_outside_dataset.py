"""A data set of one outside file, the one that docs/methods.md shows: run, board, and rebuilt from its record alone."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

PAGE = Path(__file__).parents[2] / "docs" / "methods.md"
SETTINGS = {
    "data": "Squares",
    "splits.pretrain": "300",
    "splits.clean": "100",
    "splits.validation": "80",
    "splits.test": "100",
    "pretrain.epochs": "1",
    "attacks": '[{"name":"badnet","fields":{"target":"red"}}]',
    "repairs.fine-tuning.epochs": "1",
    "gate.min_asr": "0.0",
    "gate.min_asr_on": "absolute",
    "gate.max_accuracy_drop": "1.0",
}
CELL = "objective=mmcl,attack=badnet,repair=fine-tuning"


def backstop(*words: str, code: int = 0) -> str:
    """What a process of its own prints, on stderr where it is to fail."""
    command = [sys.executable, "-m", "benchmark.cli", *words]
    found = subprocess.run(command, capture_output=True, text=True)
    assert found.returncode == code, found.stderr
    return found.stdout if code == 0 else found.stderr


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_data_set_of_one_outside_file_is_run_and_rebuilt_from_its_record(tmp_path: Path) -> None:
    (source,) = re.findall(r'^```python\n("""squares\.py: .*?)^```$', PAGE.read_text(), re.MULTILINE | re.DOTALL)
    file, store, again = tmp_path / "squares.py", str(tmp_path / "store"), tmp_path / "cell.json"
    file.write_text(source)
    settings = [word for name, value in SETTINGS.items() for word in ("--set", f"{name}={value}")]
    run = ["run", "smoke", "--local", "--json", "--store", store, *settings, "--only", CELL]
    assert json.loads(backstop(*run, "--plugin", str(file)))["statuses"] == {"ok": 1}

    backstop("board", "smoke", "--store", store, "--out", str(tmp_path / "board"))
    cells = pd.read_csv(tmp_path / "board" / "records.csv")
    (row,) = cells[cells["status"] == "ok"].to_dict("records")
    assert (row["dataset"], row["clean_accuracy_total"]) == ("squares", 100)

    (record,) = (folder.name for folder in (tmp_path / "store" / "record").iterdir())
    file.unlink()  # the store has a copy, and runs none that nobody trusts
    told = backstop("show", record, "--store", store, code=2)
    assert told.startswith("backstop: dataset squares must be loaded from its source ") and told.count("\n") == 1
    again.write_text(backstop("show", record, "--store", store, "--trust-plugins"))
    rerun = ["run", str(again), "--local", "--json", "--store", store, "--trust-plugins", "--only", CELL]
    before = {str(path): path.stat().st_mtime_ns for path in (tmp_path / "store").glob("*/*/manifest.json")}
    assert json.loads(backstop(*rerun))["statuses"] == {"ok": 1}
    after = {str(path): path.stat().st_mtime_ns for path in (tmp_path / "store").glob("*/*/manifest.json")}
    assert after == before  # the same keys: all of it is found
