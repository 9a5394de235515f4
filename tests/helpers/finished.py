"""Made-up suites, and a store with a finished one: an attacked model, its twin, one detector; no model was made."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from safetensors.numpy import save_file

from benchmark.attacks.badnet import BadNet
from benchmark.bundle.pack import pack
from benchmark.config.spec import Search, Suite
from benchmark.datasets.shapes.dataset import Shapes
from benchmark.detectors.clipscore import CLIPScore
from benchmark.engine.document import write_suite
from benchmark.objectives.mmcl import MMCL
from benchmark.repairs.cleanclip import CleanCLIP
from benchmark.stages.cells import Cell
from benchmark.stages.evaluations import ConditionSpec, evaluate_key, own_conditions
from benchmark.stages.keys import cells_of
from benchmark.stages.record import Selected, write_record
from benchmark.store.artifacts import Store
from tests.helpers.metrics import outcome_table, score_table

ATTACK, TARGET = BadNet(target="ring"), 2
CLEAN_RANKS, SHOWN_RANKS = [9, 9, 9, 9], [0, 2, 5, 1]  # of the target; images of class 0


def made_up(**more: Any) -> Suite:
    """One objective and BadNet on drawn shapes; `more` are further fields."""
    return Suite(name="made-up", data=Shapes(num_rows=400), objectives=(MMCL(),), attacks=(ATTACK,), **more)


def searched(**fields: Any) -> Cell:
    """The attacked cell of a made-up suite with a search over CleanCLIP."""
    return cells_of(made_up(repairs=(CleanCLIP(),), searched={"cleanclip"}, search=Search(**fields)))[-1]


SUITE = made_up(detectors=(CLIPScore(),))


def finish(root: Path) -> Path:
    """Writes the store below `root`; the file of its suite."""
    store = Store(root / "store")
    for cell in cells_of(SUITE):
        _outcomes(store, cell)
        undefended = Selected("undefended", "ok", artifact=cell.keys.pretrain)
        choice = Selected("default", "ok", detected=True) if cell.experiment.detector else undefended
        write_record(store, cell, SUITE.name, [choice], environment={"host": "somewhere"})
    file = root / "made-up.json"
    file.write_text(json.dumps(SUITE.to_dict()))
    return file


def store_and_bundle(root: Path) -> tuple[Store, Path]:
    """That store with its suite's document, and what is published of it."""
    finish(root)
    store, folder = Store(root / "store"), root / "published" / SUITE.name
    write_suite(store, SUITE, cells_of(SUITE), command="backstop run", environment={"host": "somewhere"})
    pack(store, SUITE.name, folder)
    return store, folder


def _outcomes(store: Store, cell: Cell) -> None:
    if cell.keys.poison:
        store.draft("poison", cell.keys.poison).commit({"target_index": TARGET})
    for item in own_conditions(cell):
        ranks = SHOWN_RANKS if item.attack else CLEAN_RANKS
        table = outcome_table(
            item.name, "zero_shot", target_rank=ranks, predicted=[TARGET if r == 0 else 0 for r in ranks]
        )
        for model in (cell.keys.pretrain, cell.keys.twin):
            if not store.has("pretrain", model):
                _weights(store, model)
            _write(store, cell, item, model, table)
    if cell.keys.detect:
        draft = store.draft("detect", cell.keys.detect)
        pq.write_table(score_table([0.1, 0.2, 0.3], [0.25, 0.9]), draft.path("scores.parquet"))
        draft.commit({"unit": "pair"})


def _weights(store: Store, model: str) -> None:
    draft = store.draft("pretrain", model)
    numbers = np.random.default_rng(int(model[:8], 16)).standard_normal((3, 4), np.float32)
    save_file(
        {"weight": numbers, "logit_scale": np.array(2.66, np.float32), "steps": np.array([7])},
        draft.path("model.safetensors"),
    )
    draft.path("model.json").write_text("{}")
    draft.path("optimizer.safetensors").write_bytes(b"large")
    draft.commit({})


def _write(store: Store, cell: Cell, item: ConditionSpec, model: str, table: pa.Table) -> None:
    draft = store.draft("evaluate", evaluate_key(cell, item, split="test", model=model, epoch=None))
    pq.write_table(table, draft.path("outcomes.parquet"))
    attack = {"name": item.attack.name} if item.attack else None
    facts = {"condition": item.name, "target": TARGET if item.attack else None, "attack": attack, "threads": 1}
    draft.commit(facts | {"model": {"stage": "pretrain", "key": model, "epoch": None}})
