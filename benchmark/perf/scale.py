"""Scale: `plan`, `status` and `board` at 10,000 cells, on a store whose records are made up."""

from __future__ import annotations

import csv
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmark.attacks.badnet import BadNet
from benchmark.config.protocol import Search, Splits
from benchmark.config.spec import Suite
from benchmark.datasets.shapes.dataset import Shapes
from benchmark.engine.document import write_suite
from benchmark.objectives.mmcl import MMCL
from benchmark.objectives.mmcl_ssl import MMCLSSL
from benchmark.perf.report import Line, Settings
from benchmark.perf.startup import command_line
from benchmark.repairs.cleanclip import CleanCLIP
from benchmark.repairs.fine_tuning import FineTuning
from benchmark.stages.cells import Cell
from benchmark.stages.keys import cells_of
from benchmark.stages.measuring import finite
from benchmark.stages.record import axes
from benchmark.store.artifacts import Store
from benchmark.store.schemas import FRONT, RECORDS, SCHEMA_VERSION, TRIALS
from benchmark.types import Measure, Training, proportion

TEST = 2000
VALIDATION = 600
PAGE_BYTES, ROW_BYTES = 3_000_000, 250  # of a board's page, and more for each of its rows


def run(_: Settings) -> list[Line]:
    """Each command once, as a user calls it: with the start of Python, and with the files of the store in the cache."""
    with tempfile.TemporaryDirectory() as folder:
        suite, file = scale_suite(), Path(folder) / "scale.json"
        file.write_text(json.dumps(suite.to_dict()))
        none, every = Path(folder) / "none", Path(folder) / "every"
        fill(Store(every), suite)
        return [
            command_line("plan, nothing made", ["plan", str(file), "--no-probe"], str(none), limit_s=2),
            command_line("plan, all made", ["plan", str(file), "--no-probe"], str(every), limit_s=2),
            command_line("status", ["status", "scale"], str(every), limit_s=2),
            command_line("board", ["board", "scale"], str(every), limit_s=60, repeats=1),
            command_line("board, again", ["board", "scale"], str(every), limit_s=60, repeats=1),
            _page(every / "board" / "scale"),
        ]


def _page(board: Path) -> Line:
    """The size of the page, which may have so many bytes and so many more for each row."""
    with (board / "records.csv").open(encoding="utf-8", newline="") as file:
        rows = sum(1 for _ in csv.reader(file)) - 1
    size, limit = (board / "index.html").stat().st_size, PAGE_BYTES + ROW_BYTES * rows
    return Line("board, page (MB)", f"{size / 1e6:.1f}", "", None, f"<= {limit / 1e6:.1f}", size <= limit)


def scale_suite(*, objectives: int = 5, attacks: int = 19, repairs: int = 9, seeds: int = 10) -> Suite:
    """Models without and with attacks, each as it is and after every repair: 10,000 cells."""
    return Suite(
        name="scale",
        title="Scale: made-up records",
        data=Shapes(num_rows=7800),
        splits=Splits(pretrain=5000, clean=1000, validation=VALIDATION, test=1200),
        pretrain=Training(epochs=13, batch_size=128),
        objectives=(MMCL(), *(MMCLSSL(ssl_weight=1 + place / 10) for place in range(1, objectives))),
        attacks=tuple(BadNet(target="ring", poison_rate=(1 + place) / 1000) for place in range(attacks)),
        repairs=(CleanCLIP(), *(FineTuning(epochs=place) for place in range(1, repairs))),
        searched=frozenset({"cleanclip"}),
        search=Search(trials=8, front=12),
        seeds=tuple(range(seeds)),
    )


def fill(store: Store, suite: Suite) -> None:
    """Writes the suite's document and a record of every cell, with the trials of those that are searched."""
    cells, rng = cells_of(suite), np.random.default_rng(0)
    write_suite(store, suite, cells, command="backstop run scale.json", environment={})
    for cell in cells:
        rows = [_row(cell, selection, rng) for selection in _selections(cell)]
        draft = store.draft("record", cell.keys.record)
        pq.write_table(pa.Table.from_pylist(rows, schema=RECORDS), draft.path("records.parquet"))
        if cell.experiment.search:
            trials = _trials(cell, cell.experiment.search, rng)
            pq.write_table(pa.Table.from_pylist(trials, schema=TRIALS), draft.path("trials.parquet"))
            points = [_point(row, rng) for row in trials[: cell.experiment.search.front]]
            pq.write_table(pa.Table.from_pylist(points, schema=FRONT), draft.path("front.parquet"))
        draft.commit({"statuses": {row["selection"]: row["status"] for row in rows}, "final": True})


def _selections(cell: Cell) -> tuple[str, ...]:
    if cell.experiment.repair is None:
        return ("undefended",)
    return ("default", "oracle", "trigger_blind") if cell.experiment.search else ("default",)


def _point(row: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
    """An epoch of a search as a point of its front."""
    own = {name: row[name] for name in ("cell", "trial", "epoch")}
    return own | {"status": "ok", "reason": "", "measures": [finite(item) for item in _measured(rng, attacked=True)]}


def _measured(rng: np.random.Generator, *, attacked: bool) -> list[Measure]:
    clean, triggered, floor = rng.integers(TEST // 2, TEST), rng.integers(TEST), TEST // 50
    measures = [proportion("clean_accuracy", "zero_shot", int(clean), TEST)]
    if attacked:
        measures.append(proportion("attack_success_rate", "zero_shot", int(triggered), TEST))
        measures.append(proportion("floor", "zero_shot", floor, TEST))
        measures.append(Measure("net_asr", "zero_shot", float(triggered - floor) / TEST, -1, TEST))
    return measures


def _row(cell: Cell, selection: str, rng: np.random.Generator) -> dict[str, Any]:
    measures = _measured(rng, attacked=cell.experiment.attack is not None)
    return axes(cell.experiment) | {
        "schema_version": SCHEMA_VERSION,
        "suite": "scale",
        "cell": cell.keys.record,
        "selection": selection,
        "status": "ok",
        "reason": "",
        "parameters": json.dumps(cell.experiment.repair.model_dump(mode="json") if cell.experiment.repair else {}),
        "measures": [finite(item) for item in measures],
        "wall_s": 10.0,
        "device": "cpu",
        "environment": "{}",
        "specification": json.dumps(cell.experiment.to_dict()),
        "artifacts": json.dumps(cell.keys._asdict()),
    }


def _trials(cell: Cell, search: Search, rng: np.random.Generator) -> list[dict[str, Any]]:
    """A row for every epoch of every trial, the defaults among them."""
    epochs = CleanCLIP().epochs
    measured = rng.random((search.trials + 1, epochs, 2))
    return [
        {
            "cell": cell.keys.record,
            "trial": trial,
            "status": "ok",
            "validation_floor": 0.02,
            "epoch": epoch + 1,
            "validation_accuracy": accuracy,
            "validation_accuracy_total": VALIDATION,
            "validation_asr": asr,
            "validation_asr_total": VALIDATION,
        }
        for trial, rows in enumerate(measured.tolist())
        for epoch, (accuracy, asr) in enumerate(rows)
    ]
