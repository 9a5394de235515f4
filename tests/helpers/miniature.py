"""A suite small enough for a test: `smoke` with a few hundred pairs and a gate that lets every attack through."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pyarrow.parquet as pq

from benchmark.store.artifacts import Store
from benchmark.store.schemas import VOLATILE

SETTINGS = (
    "splits.pretrain=600",
    "splits.clean=200",
    "splits.validation=150",
    "splits.test=200",
    "data.num_rows=1200",
    "pretrain.epochs=2",
    "search.trials=3",
    "search.quasi_random=2",
    "repairs.cleanclip.epochs=2",
    "repairs.fine-tuning.epochs=1",
    "repairs.batch-norm-only.epochs=1",
    "gate.min_asr=0.0",
    "gate.min_asr_on=absolute",
    "gate.max_accuracy_drop=1.0",
)
# of one objective and one repair, which is not searched; what a test adds to it comes after
SMALLEST = (
    *(text for text in SETTINGS if not text.startswith("repairs.")),
    'objectives=["mmcl"]',
    'attacks=["badnet:target=ring,poison_rate=0.1"]',
    'repairs=["fine-tuning:epochs=1,batch_size=64"]',
    "searched=[]",
    "spaces={}",
    "pretrain.epochs=1",
)
WORDS = [part for text in SETTINGS for part in ("--set", text)]  # of the command
PLUGIN = Path(__file__).parents[1] / "plugin" / "interpolated_repair.py"


def start(store: Path | str, *more: str, before: Sequence[str] = ()) -> subprocess.Popen[str]:
    """Starts `backstop run smoke` in a session of its own, single-threaded, so that equal runs give equal bits.

    Args:
        store: where.
        more: further words.
        before: a command that is given this one.
    """
    command = [sys.executable, "-m", "benchmark.cli", "run", "smoke", "--store", str(store), "--quiet", *WORDS, *more]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    return subprocess.Popen(
        [*before, *command],
        env=environment,
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(store: Path, *more: str) -> str:
    """Runs it to the end; what it printed."""
    process = start(store, *more)
    printed, complaints = process.communicate()
    assert process.returncode == 0, complaints
    return printed


def records(root: Path | str, *, part: bool = False) -> list[dict[str, object]]:
    """Every record and trial row, without what may differ between equal runs; of a `part`, of the cells that it has."""
    store = Store(root)
    document = store.read_json("suites/smoke.json")
    assert document is not None
    rows = []
    for cell in document["cells"]:
        found = store.find("record", cell["record"])
        if found is None and part:
            continue
        assert found is not None, cell
        tables = [found.path(name) for name in ("records.parquet", "trials.parquet") if found.path(name).exists()]
        rows += [row for table in tables for row in pq.read_table(table).to_pylist()]
    return [{name: value for name, value in row.items() if name not in VOLATILE} for row in rows]


def is_undisturbed(root: Path | str, calm: Path | str, *, cells: int) -> bool:
    """Whether a store has the records of so many cells, each as the store of an undisturbed run of the whole has it."""
    mine = records(root, part=True)
    made = {row["cell"] for row in mine}
    return len(made) == cells and mine == [row for row in records(calm) if row["cell"] in made]
