"""Suites on paper: what is written is JSON, and what is read back has the same cells under the same keys."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmark.config import registry
from benchmark.config.overrides import override
from benchmark.config.spec import Experiment, Suite
from benchmark.stages.keys import cells_of, keys_of
from benchmark.stages.once import Once

pytestmark = pytest.mark.unit
SUITES = ("smoke", "kinds", "cifar10", "cifar10-zoo")


def suite(name: str, tmp_path: Path) -> Suite:
    """A registered suite; photographs get a folder with two files, since their key names what is there."""
    found: Suite = registry.suite(name)()
    if not name.startswith("cifar10"):
        return found
    for split in ("train", "test"):
        rows = [{"img": {"bytes": b"pixels", "path": f"{label}.png"}, "label": label} for label in range(10)]
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / f"{split}.parquet")
    return override(found, {"data.path": str(tmp_path)})


def on_paper(value: dict[str, Any]) -> dict[str, Any]:
    return json.loads(json.dumps(value, allow_nan=False))


@pytest.mark.parametrize("name", SUITES)
def test_every_experiment_is_rebuilt_with_its_keys(name: str, tmp_path: Path) -> None:
    cells, once = cells_of(suite(name, tmp_path)), Once()
    assert len(cells) > 10
    for cell in cells:
        again = Experiment.from_dict(on_paper(cell.experiment.to_dict()))
        assert again == cell.experiment
        assert keys_of(again, once) == cell.keys


@pytest.mark.parametrize("name", SUITES)
def test_a_suite_is_rebuilt_and_written_alike(name: str, tmp_path: Path) -> None:
    found = suite(name, tmp_path)
    again = Suite.from_dict(on_paper(found.to_dict()))
    assert again == found
    assert json.dumps(again.to_dict()) == json.dumps(found.to_dict())


def test_the_gate_is_part_of_an_experiment(tmp_path: Path) -> None:
    strict = override(suite("smoke", tmp_path), {"gate.min_asr": "0.9"})
    (cell, *_), (other, *_) = cells_of(strict), cells_of(suite("smoke", tmp_path))
    assert Experiment.from_dict(cell.experiment.to_dict()).gate.min_asr == 0.9
    assert cell.keys.record != other.keys.record
    assert cell.keys._replace(record="") == other.keys._replace(record="")


@pytest.mark.parametrize("name", ["smoke", "kinds"])
def test_each_cell_stands_in_a_suite_of_its_own_with_what_it_is_compared_with(name: str, tmp_path: Path) -> None:
    for cell in cells_of(suite(name, tmp_path)):
        alone = cells_of(Suite.from_dict(on_paper(cell.experiment.suite(f"{name}-1").to_dict())))
        assert cell.keys in [other.keys for other in alone]
        assert len(alone) <= 4
