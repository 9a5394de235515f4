"""A clean model from outside is trained on pairs that no suspect model has seen, and says how good it is."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyarrow.parquet as pq
import pytest

from benchmark.attacks.badnet import BadNet
from benchmark.config.spec import Gate, ModelSpec, Readouts, Splits, Suite
from benchmark.datasets.shapes.dataset import Shapes
from benchmark.detectors.clipscore import CLIPScore, CLIPScoreOutside
from benchmark.engine.driver import SuiteRun
from benchmark.engine.local import LocalExecutor
from benchmark.engine.monitor import Monitor
from benchmark.objectives.mmcl import MMCL
from benchmark.stages.cells import Cell, outside_cell
from benchmark.stages.common import Compute
from benchmark.stages.keys import cells_of
from benchmark.stages.work.prepare import clean_pool
from benchmark.store.artifacts import Store, open_store
from benchmark.types import Training
from reports.compile import compile_suite
from reports.detection import detector_scales, detectors
from reports.grid import names_of

pytestmark = pytest.mark.unit
SUITE = Suite(
    name="outside",
    data=Shapes(num_rows=420),
    splits=Splits(pretrain=128, clean=64, validation=40, test=60),
    model=ModelSpec(name="tiny-resnet"),
    pretrain=Training(epochs=1, batch_size=32, learning_rate=1e-3, warmup_steps=2),
    objectives=(MMCL(),),
    attacks=(BadNet(target="ring", poison_rate=0.1, size=5),),
    detectors=(CLIPScore(), CLIPScoreOutside()),
    gate=Gate(min_asr=0.0, max_accuracy_drop=1.0),
    readouts=Readouts(retrieval=False, similarity_samples=0, probe=False, knn=False),
)


class Ran(NamedTuple):
    """A finished run."""

    store: Store
    cells: list[Cell]

    def measures(self, detector: str) -> dict[str, float]:
        """Every measure of the cell with this detector."""
        cell = next(
            item for item in self.cells if item.experiment.detector and item.experiment.detector.name == detector
        )
        found = self.store.find("record", cell.keys.record)
        assert found is not None
        (row,) = pq.read_table(found.path("records.parquet")).to_pylist()
        assert row["status"] == "ok", row["reason"]
        return {item["name"]: item["value"] for item in row["measures"]}


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    from benchmark.engine.document import write_suite

    store, monitor = open_store(str(tmp_path_factory.mktemp("store"))), Monitor(quiet=True)
    cells = cells_of(SUITE)
    write_suite(store, SUITE, cells, command="", environment={})
    SuiteRun(store, SUITE, cells, cells, LocalExecutor(store, monitor, Compute(), threads=1), monitor).run()
    return Ran(store, cells)


def test_it_has_seen_none_of_the_suspect_pairs(ran: Ran) -> None:
    asking = ran.cells[-1]
    trained = outside_cell(asking)
    facts = ran.store.facts("pretrain", asking.keys.outside or "")
    assert facts is not None and facts["parents"]["data"] == asking.keys.outside_data
    suspect, own = (clean_pool(ran.store, cell) for cell in (asking, trained))
    assert own.num_rows == suspect.num_rows == 128
    images = [{image.tobytes() for image in pool.take(np.arange(128)).images.numpy()} for pool in (suspect, own)]
    assert not images[0] & images[1]


def test_its_accuracy_stands_beside_the_numbers_of_who_asked(ran: Ran) -> None:
    asked, plain = ran.measures("clipscore-outside"), ran.measures("clipscore")
    assert 0 <= asked["auxiliary_clean_accuracy"] <= 1
    assert "auxiliary_clean_accuracy" not in plain
    results = compile_suite(ran.store, "outside")
    names = names_of(results.cells, results.detections)
    scales = detector_scales(results.measures)
    (group,) = detectors(results.detections, results.cells, names, results.cards, scales).filters
    notes = {line.label: line.note for line in group.lines}
    assert notes["clipscore-outside"].startswith("model from outside: CA ")
    assert notes["clipscore"] == ""
